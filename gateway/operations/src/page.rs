//! Pages of lists: opaque tokens that hold the last path seen, bound to the list they were made for.

use hub_crypto::ct_eq;
use hub_model::api::page::Page;
use hub_model::secret::decode_base64;
use hub_store::{Path, Versioned};
use serde::de::DeserializeOwned;

use crate::Error;
use crate::hub::Hub;

/// Items on a page when nothing else was asked.
pub const DEFAULT_SIZE: usize = 100;
/// Most items on a page.
pub const MAX_SIZE: usize = 1000;

/// Which part of a list.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// How many items at most.
    pub size: Option<usize>,
    /// Where to go on.
    pub token: Option<String>,
}

impl PageRequest {
    pub(crate) fn limit(&self) -> Result<usize, Error> {
        match self.size {
            None => Ok(DEFAULT_SIZE),
            Some(size) if (1..=MAX_SIZE).contains(&size) => Ok(size),
            Some(_) => Err(Error::Invalid {
                pointer: "pageSize",
                detail: format!("`pageSize` must be between 1 and {MAX_SIZE}"),
            }),
        }
    }
}

/// One page of the records under a prefix.
pub(crate) async fn scan<T: DeserializeOwned>(
    hub: &Hub,
    prefix: &str,
    request: &PageRequest,
) -> Result<Page<(Path, Versioned<T>)>, Error> {
    let limit = request.limit()?;
    let after = match &request.token {
        None => None,
        Some(token) => {
            let last = open_token(hub, prefix, token)?;
            Some(Path::new(&format!("{prefix}{last}")).map_err(|_| Error::PageToken)?)
        }
    };
    let page = hub.store().scan::<T>(prefix, after.as_ref(), limit).await?;
    let next_page_token = match page.records.last() {
        Some((path, _)) if page.more => {
            let last = path.as_str().strip_prefix(prefix).unwrap_or_default();
            Some(seal_token(hub, prefix, last))
        }
        _ => None,
    };
    Ok(Page { items: page.records, next_page_token })
}

/// A token that goes on after `last` in the list named `list`: base64url(tag[..16] ‖ last).
pub(crate) fn seal_token(hub: &Hub, list: &str, last: &str) -> String {
    let tag = hub.system_keys().page_token().tag(&[list.as_bytes(), &[0], last.as_bytes()]);
    let mut bytes = tag.iter().copied().take(16).collect::<Vec<u8>>();
    bytes.extend_from_slice(last.as_bytes());
    hub_model::secret::encode_base64_url(&bytes)
}

/// Where a token of this list goes on.
pub(crate) fn open_token(hub: &Hub, list: &str, token: &str) -> Result<String, Error> {
    let bytes = decode_base64(token).map_err(|_| Error::PageToken)?;
    let (tag, last) = bytes.split_at_checked(16).ok_or(Error::PageToken)?;
    let expected = hub.system_keys().page_token().tag(&[list.as_bytes(), &[0], last]);
    if !expected.get(..16).is_some_and(|expected| ct_eq(expected, tag)) {
        return Err(Error::PageToken);
    }
    String::from_utf8(last.to_vec()).map_err(|_| Error::PageToken)
}
