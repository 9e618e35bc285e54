//! Why a plugin gives no answer.

use std::fmt;

/// Why a plugin gives no answer; `plugin-error` of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The operator's settings, or the parameters of a policy or request, are unusable. The text is
    /// shown to whoever gave them: name the setting and what it should be.
    InvalidConfig(String),
    /// The request is well formed, but this plugin does not serve it. The text is shown.
    Unsupported(String),
    /// Anything else. The text is logged, and never shown to callers of the API.
    Internal(String),
}

/// What most functions of a plugin give.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// [`Error::InvalidConfig`].
    #[must_use]
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::InvalidConfig(text.into())
    }

    /// [`Error::Unsupported`].
    #[must_use]
    pub fn unsupported(text: impl Into<String>) -> Self {
        Self::Unsupported(text.into())
    }

    /// [`Error::Internal`].
    #[must_use]
    pub fn internal(text: impl Into<String>) -> Self {
        Self::Internal(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidConfig(text) => write!(f, "invalid configuration: {text}"),
            Self::Unsupported(text) => write!(f, "unsupported: {text}"),
            Self::Internal(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
