//! Folders of cases: found, read, and written again with the answers that `--record` keeps.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::super::failure::{Code, Failure};
use super::case::Case;

/// Most bytes of a file with a case.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Most cases of a folder.
const MAX_CASES: usize = 10_000;

/// A folder's cases in order of their names, and what is wrong with other files.
pub(super) fn folder(path: &Path, world: &str) -> Result<(Vec<Case>, Vec<String>), Failure> {
    let (mut cases, mut wrong) = (Vec::new(), Vec::new());
    for path in files(path)? {
        let failed = |error: std::io::Error| Failure::file(&path, &error);
        if std::fs::metadata(&path).map_err(failed)?.len() > MAX_FILE {
            wrong.push(format!("{}: larger than 4 MiB", path.display()));
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        match Case::parse(&text, world) {
            Ok(case) => cases.push(Case { path, ..case }),
            Err(message) => wrong.push(format!("{}: {message}", path.display())),
        }
    }
    Ok((cases, wrong))
}

/// The files with cases: the one named, or those of the folder and of folders in it.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut found, mut folders) = (Vec::new(), vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        let failed = |error: std::io::Error| Failure::file(&folder, &error);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A link that leads back would never end.
            if entry.file_type().map_err(failed)?.is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "json") {
                found.push(entry.path());
            }
        }
        if found.len() > MAX_CASES {
            let message = format!("`{}` has more than {MAX_CASES} cases", path.display());
            return Err(Failure::new(Code::Failed, message, "name a smaller folder with --cases"));
        }
    }
    found.sort();
    Ok(found)
}

/// Writes what was answered into the file of a case, and leaves the rest as it is.
pub(super) fn record(case: &Case, expect: Result<&Value, &str>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file(&case.path, &error);
    let text = std::fs::read_to_string(&case.path).map_err(failed)?;
    let text = recorded(&text, expect).map_err(|error| failed(std::io::Error::other(error)))?;
    super::write_public(&case.path, text.as_bytes())
}

fn recorded(text: &str, expect: Result<&Value, &str>) -> Result<String, serde_json::Error> {
    let mut members: serde_json::Map<String, Value> = serde_json::from_str(text)?;
    for gone in ["expect", "expectError", "expectText"] {
        members.remove(gone);
    }
    match expect {
        Ok(value) => members.insert("expect".to_owned(), value.clone()),
        Err(kind) => members.insert("expectError".to_owned(), Value::String(kind.to_owned())),
    };
    Ok(serde_json::to_string_pretty(&members)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn recording_keeps_the_rest() {
        let text = r#"{"world":"w","expectError":"trap","expectText":"x","request":{"b":1,"a":2}}"#;
        let new = recorded(text, Ok(&json!({"rotateNow": "y"}))).unwrap();
        let value: Value = serde_json::from_str(&new).unwrap();
        let wanted = json!({"world":"w","request":{"b":1,"a":2},"expect":{"rotateNow":"y"}});
        assert_eq!(value, wanted);
        let new = recorded(&new, Err("trap")).unwrap();
        assert!(!new.contains("rotateNow") && new.contains(r#""expectError": "trap""#));
    }

    #[test]
    fn cases_are_found_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("more")).unwrap();
        let text = r#"{"world":"audit-sink"}"#;
        for name in ["b.json", "a.json", "more/c.json", "notes.txt"] {
            std::fs::write(at(name), text).unwrap();
        }
        std::fs::write(at("broken.json"), "{").unwrap();
        let (cases, wrong) = super::folder(folder.path(), "audit-sink").unwrap();
        let names: Vec<_> = cases.iter().map(Case::title).collect();
        assert_eq!(
            (names, wrong.len()),
            (vec!["a.json".into(), "b.json".into(), "c.json".into()], 1)
        );
        assert!(super::folder(&at("nowhere"), "audit-sink").is_err());
    }
}
