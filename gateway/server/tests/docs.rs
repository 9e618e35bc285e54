//! `docs/http.md` names every route and every kind of problem, and none that is not there.

use hub_server::problem::KINDS;
use hub_server::routes;

const PAGE: &str = include_str!("../../../docs/http.md");

/// The cells of the rows of all tables, without code marks.
fn rows() -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    PAGE.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

#[test]
fn every_route_is_in_the_page_as_it_is() {
    let rows = rows();
    let table = routes::table();
    for route in &table {
        let row = rows
            .iter()
            .find(|row| row[0] == route.method.as_str() && row[1] == route.path)
            .unwrap_or_else(|| panic!("{} {} is not in docs/http.md", route.method, route.path));
        let what = format!("{} {}", route.method, route.path);
        assert_eq!(row[2], route.action.name(), "the action of {what}");
        assert_eq!(!row[3].is_empty(), route.request.is_some(), "the body of {what}");
        let status = row[4].split(' ').next().unwrap();
        assert_eq!(status, route.success.as_str(), "the status of {what}");
        assert_eq!(row[5].contains('M'), route.if_match, "If-Match of {what}");
        let keeps = route.keeps != hub_operations::Keeps::Nothing;
        assert_eq!(row[5].contains('I'), keeps, "Idempotency-Key of {what}");
    }
    for row in rows.iter().filter(|row| row.len() == 6) {
        let known = table.iter().any(|r| r.method.as_str() == row[0] && r.path == row[1]);
        assert!(known, "docs/http.md has a route that is not there: {} {}", row[0], row[1]);
    }
}

#[test]
fn every_kind_of_problem_is_in_the_page() {
    let rows = rows();
    for (code, status, _, retryable) in KINDS {
        let row = rows
            .iter()
            .find(|row| row.len() == 4 && row[0] == *code)
            .unwrap_or_else(|| panic!("`{code}` is not in docs/http.md"));
        assert_eq!(row[1], status.to_string(), "the status of `{code}`");
        assert_eq!(row[3] == "yes", *retryable, "whether `{code}` is retryable");
    }
    for row in rows.iter().filter(|row| row.len() == 4) {
        let known = KINDS.iter().any(|kind| kind.0 == row[0]);
        assert!(known, "docs/http.md has a problem that is not there: {}", row[0]);
    }
}
