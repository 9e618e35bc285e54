//! The catalogue of plugins.

use http::{Method, StatusCode};
use hub_model::Action;
use hub_model::api::page::Page;
use hub_model::api::plugin as body;
use hub_operations::{Keeps, plugin as plg};

use super::{Body, Route};
use crate::catalogue::InstallEndpoint;
use crate::openapi::schema;

pub(super) fn rows() -> Vec<Route> {
    vec![
        Route {
            method: Method::POST,
            path: "/v1/plugins",
            action: Action::PluginsInstall,
            operation_id: Action::PluginsInstall.name(),
            success: StatusCode::OK,
            body: Body::Wasm,
            request: None,
            response: Some(schema::<body::PluginView>),
            query: &["activate"],
            keeps: Keeps::Nothing,
            if_match: false,
            dry_run: true,
            secret: false,
            endpoint: Box::new(InstallEndpoint),
        },
        Route::new(Method::GET, "/v1/plugins", |p| Ok(plg::ListPlugins { page: p.page()? }))
            .gives::<Page<body::PluginView>>()
            .paged(),
        Route::new(Method::GET, "/v1/plugins/{plugin}", |p| {
            Ok(plg::GetPlugin { plugin: p.param("plugin")? })
        })
        .gives::<body::PluginView>(),
        Route::new(Method::PATCH, "/v1/plugins/{plugin}", |p| {
            Ok(plg::UpdatePlugin { plugin: p.param("plugin")?, body: p.json()? })
        })
        .takes::<body::PatchPlugin>()
        .gives::<body::PluginView>()
        .needs_match(),
        Route::new(Method::DELETE, "/v1/plugins/{plugin}", |p| {
            Ok(plg::DeletePlugin { plugin: p.param("plugin")? })
        })
        .empty()
        .needs_match(),
        Route::new(Method::POST, "/v1/plugins/{plugin}:enable", |p| {
            Ok(plg::EnablePlugin::<true> { plugin: p.param("plugin")? })
        })
        .gives::<body::PluginView>()
        .called("plugins.enable"),
        Route::new(Method::POST, "/v1/plugins/{plugin}:disable", |p| {
            Ok(plg::EnablePlugin::<false> { plugin: p.param("plugin")? })
        })
        .gives::<body::PluginView>()
        .called("plugins.disable"),
        Route::new(Method::POST, "/v1/plugins/{plugin}:rollback", |p| {
            Ok(plg::RollbackPlugin::new(p.param("plugin")?))
        })
        .gives::<body::PluginView>()
        .called("plugins.rollback"),
    ]
}
