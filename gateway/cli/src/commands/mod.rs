//! The commands, by noun.

pub(crate) mod access;
mod ask;
pub(crate) mod audit;
pub(crate) mod context;
pub(crate) mod credential;
pub(crate) mod crypto;
pub(crate) mod dev_ca;
pub(crate) mod grant;
pub(crate) mod hub;
pub(crate) mod key;
pub(crate) mod lifecycle;
pub(crate) mod limits;
pub(crate) mod operation;
pub(crate) mod participant;
pub(crate) mod plugin;
pub(crate) mod policy;
pub(crate) mod program;
pub(crate) mod registration;
mod replay;
mod revision;
pub(crate) mod role;
mod rotation_plugin;
mod stream;
pub(crate) mod token;
pub(crate) mod transfer;
pub(crate) mod uses;
pub(crate) mod witness;

use std::future::Future;

use cipher_hub_client::PageRequest;
use hub_model::api::page::Page;

use super::failure::Failure;

/// Every item of a list, page by page.
async fn every<T, F>(mut fetch: impl FnMut(PageRequest) -> F) -> Result<Vec<T>, Failure>
where
    F: Future<Output = Result<Page<T>, cipher_hub_client::Error>>,
{
    let mut items = Vec::new();
    let mut request = PageRequest { size: Some(1000), token: None };
    loop {
        let page = fetch(request.clone()).await?;
        items.extend(page.items);
        // A token that leads back to itself would never end.
        if page.next_page_token.is_none() || page.next_page_token == request.token {
            return Ok(items);
        }
        request.token = page.next_page_token;
    }
}
