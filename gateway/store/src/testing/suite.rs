//! What every backend must do.

use std::future::Future;
use std::sync::Arc;

use super::everything;
use crate::backend::{Backend, Changes, Check, Commit, MAX_BYTES, Revision, Txn, WatchEvent};
use crate::{Error, Path, View};

/// Runs every part of the contract on fresh backends.
///
/// # Panics
/// When the backend breaks the contract.
pub async fn suite<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Backend>>,
{
    values_and_revisions(&*make().await).await;
    checks(&*make().await).await;
    all_or_nothing(&*make().await).await;
    largest(&*make().await).await;
    order_and_pages(&*make().await).await;
    pinned_pages(&*make().await).await;
    watching(&*make().await).await;
    identities(&*make().await, &*make().await);
    closing(&*make().await).await;
}

fn path(text: &str) -> Path {
    Path::new(text).unwrap()
}

async fn put(backend: &dyn Backend, at: &str, value: &[u8]) -> Revision {
    let mut txn = Txn::new();
    txn.put(path(at), value.to_vec()).unwrap();
    committed(backend.commit(txn).await.unwrap())
}

fn committed(outcome: Commit) -> Revision {
    match outcome {
        Commit::Committed(revision) => revision,
        other => panic!("not committed: {other:?}"),
    }
}

async fn values_and_revisions(backend: &dyn Backend) {
    assert_eq!(backend.get(&path("a")).await.unwrap(), None);
    let first = put(backend, "a", b"one").await;
    let second = put(backend, "b", b"").await;
    assert!(second > first);
    assert_eq!(backend.head().await.unwrap(), second);
    let entry = backend.get(&path("a")).await.unwrap().unwrap();
    assert_eq!((entry.value.as_slice(), entry.revision), (b"one".as_slice(), first));
    let third = put(backend, "a", b"two").await;
    let entry = backend.get(&path("a")).await.unwrap().unwrap();
    assert_eq!((entry.value.as_slice(), entry.revision), (b"two".as_slice(), third));
    assert_eq!(backend.get(&path("b")).await.unwrap().unwrap().value, b"");
    let mut txn = Txn::new();
    txn.delete(path("a")).unwrap().delete(path("never")).unwrap();
    committed(backend.commit(txn).await.unwrap());
    assert_eq!(backend.get(&path("a")).await.unwrap(), None);
}

async fn checks(backend: &dyn Backend) {
    let revision = put(backend, "a", b"1").await;
    let attempt = async |check: Check| {
        let mut txn = Txn::new();
        txn.check(Check::Absent(path("none"))).unwrap();
        txn.check(check).unwrap().put(path("out"), b"x".to_vec()).unwrap();
        backend.commit(txn).await.unwrap()
    };
    for broken in [
        Check::Absent(path("a")),
        Check::Revision(path("a"), Revision(revision.0 + 1)),
        Check::Revision(path("a"), Revision(revision.0 - 1)),
        Check::Revision(path("b"), revision),
    ] {
        assert_eq!(attempt(broken).await, Commit::Conflict(1));
        assert_eq!(backend.get(&path("out")).await.unwrap(), None);
    }
    assert_eq!(backend.head().await.unwrap(), revision);
    committed(attempt(Check::Revision(path("a"), revision)).await);
    committed(attempt(Check::Absent(path("b"))).await);
    // A path put again with the same bytes still counts as changed.
    put(backend, "a", b"1").await;
    assert_eq!(attempt(Check::Revision(path("a"), revision)).await, Commit::Conflict(1));
    // A path may be checked and written at once.
    let mut txn = Txn::new();
    txn.check(Check::Absent(path("new"))).unwrap().put(path("new"), vec![1]).unwrap();
    committed(backend.commit(txn.clone()).await.unwrap());
    assert_eq!(backend.commit(txn).await.unwrap(), Commit::Conflict(0));
}

async fn all_or_nothing(backend: &dyn Backend) {
    put(backend, "a", b"1").await;
    let mut txn = Txn::new();
    txn.put(path("w/n/head"), vec![1]).unwrap().put(path("k"), vec![2]).unwrap();
    txn.delete(path("a")).unwrap();
    let revision = committed(backend.commit(txn).await.unwrap());
    assert_eq!(backend.get(&path("w/n/head")).await.unwrap().unwrap().revision, revision);
    assert_eq!(backend.get(&path("k")).await.unwrap().unwrap().revision, revision);
    assert_eq!(backend.get(&path("a")).await.unwrap(), None);
}

async fn largest(backend: &dyn Backend) {
    let mut txn = Txn::new();
    txn.put(path("big"), vec![7; MAX_BYTES - 3]).unwrap();
    committed(backend.commit(txn).await.unwrap());
    assert_eq!(backend.get(&path("big")).await.unwrap().unwrap().value.len(), MAX_BYTES - 3);
    let mut txn = Txn::new();
    for n in 0..crate::backend::MAX_PARTS {
        txn.put(path(&format!("many/{n:03}")), vec![0; 10]).unwrap();
    }
    committed(backend.commit(txn).await.unwrap());
    assert_eq!(everything(backend, "many/", 1000).await.len(), crate::backend::MAX_PARTS);
    // A page of large values ends early, and says so.
    for n in 0..4 {
        put(backend, &format!("large/{n}"), &vec![1; 600 * 1024]).await;
    }
    let page = backend.scan("large/", None, 100, View::Now).await.unwrap();
    assert!(page.more && page.entries.len() < 4);
    assert_eq!(everything(backend, "large/", 100).await.len(), 4);
}

async fn order_and_pages(backend: &dyn Backend) {
    let mut names =
        vec!["a", "a-b", "a/b", "a/c", "ab", "v/z", "w", "w-", "w/", "w/a/e/1", "w/z", "w0", "x"];
    names.retain(|name| *name != "w/");
    for name in names.iter().rev() {
        put(backend, name, name.as_bytes()).await;
    }
    names.sort_unstable();
    for prefix in ["", "a", "a/", "w", "w/", "w/a", "x", "xx", "nothing/"] {
        let expected: Vec<&str> =
            names.iter().copied().filter(|name| name.starts_with(prefix)).collect();
        for limit in [1, 2, 3, 100] {
            let found = everything(backend, prefix, limit).await;
            let found: Vec<&str> = found.iter().map(|entry| entry.path.as_str()).collect();
            assert_eq!(found, expected, "prefix {prefix:?}, limit {limit}");
        }
    }
    // `after` need not exist, and may lie before the prefix.
    let page = backend.scan("a", Some(&path("a.x")), 1, View::Now).await.unwrap();
    assert_eq!(page.entries[0].path, path("a/b"));
    let page = backend.scan("w", Some(&path("b")), 1, View::Now).await.unwrap();
    assert_eq!(page.entries[0].path, path("w"));
    let page = backend.scan("", None, 0, View::Now).await.unwrap();
    assert!(page.entries.is_empty() && page.more);
}

async fn pinned_pages(backend: &dyn Backend) {
    for n in 0..10 {
        put(backend, &format!("p/{n}"), &[n]).await;
    }
    let first = backend.scan("p/", None, 4, View::Hold).await.unwrap();
    assert!(first.more);
    // Changed, removed and added behind the back of the scan.
    put(backend, "p/5", b"changed").await;
    put(backend, "p/55", b"added").await;
    put(backend, "w/n/head", b"added").await;
    let mut txn = Txn::new();
    txn.delete(path("p/6")).unwrap();
    committed(backend.commit(txn).await.unwrap());
    let after = first.entries.last().unwrap().path.clone();
    let rest = backend.scan("p/", Some(&after), 100, View::At(first.at)).await.unwrap();
    assert_eq!(rest.at, first.at);
    let found: Vec<Vec<u8>> = rest.entries.into_iter().map(|entry| entry.value).collect();
    assert_eq!(found, [[4], [5], [6], [7], [8], [9]]);
    // Another prefix at the same revision.
    let log = backend.scan("w/", None, 10, View::At(first.at)).await.unwrap();
    assert!(log.entries.is_empty());
    // The newest revision can always be named.
    let now = backend.head().await.unwrap();
    assert_eq!(backend.scan("p/", None, 100, View::At(now)).await.unwrap().at, now);
    // One that was never seen cannot.
    let never = Revision(now.0 + 1000);
    let outcome = backend.scan("p/", None, 1, View::At(never)).await;
    assert!(matches!(outcome, Err(Error::RevisionGone(at)) if at == never));
}

async fn watching(backend: &dyn Backend) {
    let mut all = backend.watch("");
    let mut some = backend.watch("k/");
    let first = put(backend, "a", b"1").await;
    let mut txn = Txn::new();
    txn.put(path("k/1"), vec![1]).unwrap().delete(path("a")).unwrap();
    let second = committed(backend.commit(txn).await.unwrap());
    let event = |revision, paths: &[(&str, bool)]| {
        let paths = paths.iter().map(|(name, deleted)| (path(name), *deleted)).collect();
        WatchEvent::Changes(Changes { revision, paths })
    };
    assert_eq!(all.next().await.unwrap(), event(first, &[("a", false)]));
    assert_eq!(all.next().await.unwrap(), event(second, &[("k/1", false), ("a", true)]));
    assert_eq!(some.next().await.unwrap(), event(second, &[("k/1", false)]));
    assert_eq!(some.try_next(), None);
    // A conflict is no change.
    let mut txn = Txn::new();
    txn.check(Check::Absent(path("k/1"))).unwrap().put(path("k/2"), vec![1]).unwrap();
    assert_eq!(backend.commit(txn).await.unwrap(), Commit::Conflict(0));
    assert_eq!(all.try_next(), None);
    // Who falls behind is told so, and goes on.
    let mut last = second;
    for n in 0..2000u32 {
        last = put(backend, "k/1", &n.to_be_bytes()).await;
    }
    assert_eq!(some.next().await.unwrap(), WatchEvent::Resync);
    let mut newest = second;
    while let Some(WatchEvent::Changes(changes)) = some.try_next() {
        assert!(changes.revision > newest);
        newest = changes.revision;
    }
    assert_eq!(newest, last);
}

fn identities(one: &dyn Backend, other: &dyn Backend) {
    assert_ne!(one.identity(), other.identity());
    assert_ne!(one.identity(), [0; 16]);
    assert!(!one.durability().is_empty());
}

async fn closing(backend: &dyn Backend) {
    put(backend, "a", b"1").await;
    backend.close().await.unwrap();
    let mut txn = Txn::new();
    txn.put(path("b"), vec![1]).unwrap();
    assert!(matches!(backend.commit(txn).await, Err(Error::Poisoned(_))));
    backend.close().await.unwrap();
}
