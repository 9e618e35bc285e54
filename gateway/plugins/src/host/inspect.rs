//! What a component is, without running it.

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::checks::{LIFECYCLE, exports_of};
use crate::World;

/// What a component is, without running it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspected {
    /// The world whose exports it has, if it has those of one.
    pub world: Option<World>,
    /// Names of what it imports, functions and instances, without those of types alone.
    pub imports: Vec<String>,
    /// Names of what it exports.
    pub exports: Vec<String>,
    /// What memory it begins with; none where that is not known before it runs.
    pub memory: Option<MemoryNeed>,
    /// Bytes of the component.
    pub size: usize,
}

/// What memory a component begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryNeed {
    /// How many linear memories.
    pub memories: u32,
    /// Bytes of the largest at the start.
    pub initial: u64,
    /// How many tables.
    pub tables: u32,
    /// Elements of the largest at the start.
    pub elements: u64,
}

impl Inspected {
    pub(super) fn of(engine: &wasmtime::Engine, component: &Component, size: usize) -> Self {
        let ty = component.component_type();
        let import = |(name, item): (&str, wasmtime::component::types::ComponentExtern<'_>)| {
            has_functions(engine, &item.ty).then(|| name.to_owned())
        };
        let imports: Vec<String> = ty.imports(engine).filter_map(import).collect();
        let exports: Vec<String> = ty.exports(engine).map(|(name, _)| name.to_owned()).collect();
        let has = |wanted: &str| exports.iter().any(|name| name == wanted);
        let worlds = [World::RotationSchedule, World::KdfProfile, World::AuditSink];
        let world = worlds.into_iter().find(|world| has(LIFECYCLE) && has(exports_of(*world)));
        let memory = component.resources_required().map(|needs| MemoryNeed {
            memories: needs.num_memories,
            initial: needs.max_initial_memory_size.unwrap_or(0).saturating_mul(65_536),
            tables: needs.num_tables,
            elements: needs.max_initial_table_size.unwrap_or(0),
        });
        Self { world, imports, exports, memory, size }
    }
}

/// Instances of types alone give nothing to call: they need no leave.
fn has_functions(engine: &wasmtime::Engine, item: &ComponentItem) -> bool {
    match item {
        ComponentItem::Type(_) => false,
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).any(|(_, item)| has_functions(engine, &item.ty))
        }
        _ => true,
    }
}
