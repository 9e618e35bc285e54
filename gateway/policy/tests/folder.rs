//! What of a folder counts as policies.

#![expect(clippy::unwrap_used, reason = "tests want their fixtures")]

use std::path::Path;

use hub_policy::{Bundle, Error, folder};

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn policy(id: &str) -> String {
    format!("@id(\"{id}\") permit(principal, action, resource) when {{ false }};")
}

fn local(bundle: &Bundle) -> Vec<(String, String)> {
    let own = bundle.policies().filter(|info| !info.file.starts_with("baseline/"));
    own.map(|info| (info.id.to_string(), info.file.to_string())).collect()
}

#[test]
fn a_plain_folder_counts_whole_and_a_marked_one_by_its_local_part() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "b.cedar", &policy("b"));
    write(root.path(), "local/team/a.cedar", &policy("a"));
    write(root.path(), "tests/t.cedar", &policy("t"));
    write(root.path(), "local/.hidden.cedar", "not a policy");
    write(root.path(), "local/notes.txt", "not a policy");
    let bundle = Bundle::read(root.path()).unwrap();
    let pair = |id: &str, file: &str| (id.to_owned(), file.to_owned());
    let whole = [pair("b", "b.cedar"), pair("a", "local/team/a.cedar"), pair("t", "tests/t.cedar")];
    assert_eq!(local(&bundle), whole);

    write(root.path(), folder::MARKER, "");
    let bundle = Bundle::read(root.path()).unwrap();
    assert_eq!(local(&bundle), [pair("a", "local/team/a.cedar")]);
}

#[test]
fn a_marked_folder_without_its_policies_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), folder::MARKER, "");
    write(root.path(), "a.cedar", &policy("a"));
    assert!(matches!(Bundle::read(root.path()), Err(Error::Folder { .. })));
}
