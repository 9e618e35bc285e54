//! Pages of lists.

use serde::{Deserialize, Serialize};

/// One page of a list. No totals: follow `nextPageToken` until it is absent.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items, oldest first.
    pub items: Vec<T>,
    /// Give this as `pageToken` to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}
