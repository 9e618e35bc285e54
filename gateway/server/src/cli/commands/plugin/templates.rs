//! What `cipher-hub plugin new` writes: the templates of `sdk/templates`, the contract, and for Rust
//! the crate that plugins are written with. All of it is in the program, so that a project can be
//! begun anywhere; a test compares the tables with the folders.

use clap::ValueEnum;

/// A language there are templates for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Rust.
    Rust,
    /// JavaScript.
    #[value(alias = "js")]
    Javascript,
    /// Python.
    Python,
    /// C.
    C,
}

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// When is a key rotated?
    #[value(alias = "rotation")]
    RotationSchedule,
    /// How is a key derived from another?
    #[value(alias = "kdf")]
    KdfProfile,
    /// How do audit entries reach a receiver?
    #[value(alias = "sink")]
    AuditSink,
}

/// The name of a file within a project, and its text.
pub(super) type File = (&'static str, &'static str);

/// A template.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) language: Language,
    pub(super) purpose: Purpose,
    pub(super) files: &'static [File],
}

macro_rules! files {
    ($folder:literal: $($file:literal),* $(,)?) => {
        &[$((
            $file,
            include_str!(concat!("../../../../../../", $folder, "/", $file)),
        )),*]
    };
}

/// The contract, for every language: in the folder `wit`.
pub(super) const WIT: &[File] = files!("wit":
    "audit-sink.wit", "kdf-profile.wit", "rotation-schedule.wit", "types.wit",
);
