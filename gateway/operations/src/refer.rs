//! How callers name things: by name or by id.

use std::fmt;
use std::str::FromStr;

use hub_model::Name;

/// A name or an id. Names hold no underscore and ids always do, so the two cannot be confused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ref<I> {
    /// By its name.
    Name(Name),
    /// By its id.
    Id(I),
}

impl<I: FromStr<Err = hub_model::Error>> FromStr for Ref<I> {
    type Err = hub_model::Error;

    fn from_str(text: &str) -> Result<Self, hub_model::Error> {
        if text.contains('_') { text.parse().map(Self::Id) } else { text.parse().map(Self::Name) }
    }
}

impl<I: fmt::Display> fmt::Display for Ref<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => fmt::Display::fmt(name, f),
            Self::Id(id) => fmt::Display::fmt(id, f),
        }
    }
}
