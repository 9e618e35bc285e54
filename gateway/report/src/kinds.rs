//! The kinds of reports.

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($variant:ident = $name:literal, $log:literal, $title:literal;)*) => {
        /// One kind of report.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $title] $variant,)*
        }

        impl Kind {
            /// Every kind, in the order of a whole report.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the command line and in the document.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// For people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// Whether it says anything of the log.
            #[must_use]
            pub const fn needs_log(self) -> bool {
                match self { $(Self::$variant => $log,)* }
            }
        }
    };
}

kinds! {
    Inventory = "inventory", false, "Key inventory";
    Rotation = "rotation", true, "Rotation";
    Destruction = "destruction", true, "Destruction";
    Access = "access", true, "Access review";
    Changes = "changes", true, "Administrative changes";
    Denials = "denials", true, "Denials";
    Control = "control", true, "Dual control";
    Custody = "custody", true, "Custody and substitution";
    Integrity = "integrity", true, "Integrity of the log";
    Pci = "pci", true, "PCI DSS 3.6 and 3.7";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|kind| kind.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!("expected `all` or one of {}", known.join(", "))
        })
    }
}
