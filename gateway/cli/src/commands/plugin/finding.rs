//! What `cipher-hub plugin check` finds: what is wrong, and the line of the manifest that would mend it.

use hub_plugins::{LoadError, PackageError};
use serde::Serialize;

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    /// `error`: a hub refuses it. `warning`: it works, perhaps otherwise than was meant.
    pub(super) severity: &'static str,
    /// What kind.
    pub(super) code: &'static str,
    message: String,
    /// Line of the manifest it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    /// What to write there.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    pub(super) fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "error", code, message: message.into(), line: None, fix: None }
    }

    pub(super) fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "warning", ..Self::error(code, message) }
    }

    pub(super) fn at(self, line: Option<usize>) -> Self {
        Self { line, ..self }
    }

    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let place = self.line.map(|line| format!("plugin.toml:{line}: ")).unwrap_or_default();
        let mut lines = vec![format!("{place}{}: {}", self.severity, self.message)];
        lines.extend(self.fix.iter().map(|fix| format!("  write: {fix}")));
        lines
    }
}

/// A file that is no plugin.
pub(super) fn unread(error: &PackageError) -> Finding {
    match error {
        PackageError::Manifest(text) => {
            let line = text
                .strip_prefix("line ")
                .and_then(|rest| rest.split(':').next())
                .and_then(|number| number.parse().ok());
            Finding::error("manifest", error.to_string()).at(line)
        }
        PackageError::TooLarge(_) => Finding::error("size", error.to_string()),
        _ => Finding::error("file", error.to_string()),
    }
}

/// A plugin that cannot be loaded, with the line that would allow or mend it.
pub(super) fn unloaded(error: &LoadError, manifest: &str) -> Finding {
    let message = error.to_string();
    match error {
        LoadError::TooLarge { .. } | LoadError::Dear { .. } => Finding::error("size", message),
        LoadError::Invalid(_) => Finding::error("component", message),
        LoadError::NotGranted { line, .. } => Finding::error("import", message)
            .at(line_of(manifest, None, "capabilities").or(Some(1)))
            .fix(line.clone()),
        LoadError::Foreign { .. } => Finding::error("import", message),
        LoadError::WrongWorld { found, .. } => {
            let finding = Finding::error("world", message).at(line_of(manifest, None, "world"));
            match found {
                Some(found) => finding.fix(format!("world = \"{found}\"")),
                None => finding,
            }
        }
        LoadError::Types(_) => {
            Finding::error("types", message).at(line_of(manifest, None, "contract"))
        }
        LoadError::Limits(_) => {
            Finding::error("limits", message).at(line_of(manifest, Some("limits"), "memory"))
        }
    }
}

/// The line of a member in the text of a manifest, from 1.
pub(super) fn line_of(text: &str, table: Option<&str>, member: &str) -> Option<usize> {
    let mut within: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[') {
            within = name.split(']').next().map(str::trim);
            continue;
        }
        let name = line.split('=').next().unwrap_or_default().trim();
        let dotted = table.map(|table| format!("{table}.{member}"));
        if (within == table && name == member)
            || (within.is_none() && dotted.is_some_and(|dotted| dotted == name))
        {
            return Some(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "name = \"x\"\nworld = \"kdf-profile\"\n\ncapabilities = [\"log\"]\n\
                            [limits] # all of them\nmemory = \"1MiB\"\n[config.memory]\ntype = \"string\"\n";

    #[test]
    fn lines_of_manifests_are_found() {
        assert_eq!(line_of(MANIFEST, None, "capabilities"), Some(4));
        assert_eq!(line_of(MANIFEST, Some("limits"), "memory"), Some(6));
        assert_eq!(line_of(MANIFEST, None, "memory"), None);
        assert_eq!(line_of("limits.time = \"1s\"\n", Some("limits"), "time"), Some(1));
    }

    #[test]
    fn what_would_allow_an_import_is_said() {
        let error = LoadError::NotGranted {
            import: "cipher-hub:plugin/config@0.1.0".to_owned(),
            capability: "config",
            line: "capabilities = [\"log\", \"config\"]".to_owned(),
        };
        let lines = unloaded(&error, MANIFEST).lines();
        assert!(lines[0].starts_with("plugin.toml:4: error: it imports"), "{lines:?}");
        assert_eq!(lines[1], "  write: capabilities = [\"log\", \"config\"]");
        let finding = unread(&PackageError::Manifest("line 7: unknown field".into()));
        assert_eq!((finding.line, finding.severity), (Some(7), "error"));
    }
}
