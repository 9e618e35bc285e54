//! What compiling a component would cost, counted before it is compiled. The size of a file bounds
//! little: a byte of an element segment becomes tens of bytes of machine code, one function of
//! megabytes is held whole by the compiler, and nesting multiplies. The bounds are far above what the
//! tools of all languages make (a Python interpreter is the largest) and keep the compiler's memory
//! within some hundreds of megabytes.

use wasmparser::{Chunk, ElementItems, FunctionBody, Operator, Parser, Payload};

use super::checks::LoadError;

/// Components within components.
const MAX_NESTING: usize = 8;

/// What there is of everything that makes compiling dear, over a whole component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    modules: u64,
    components: u64,
    instances: u64,
    definitions: u64,
    functions: u64,
    types: u64,
    parameters: u64,
    results: u64,
    linked: u64,
    elements: u64,
    segments: u64,
    data: u64,
    body: u64,
    locals: u64,
    depth: u64,
}

impl Counts {
    /// Everything with its bound.
    fn bounds(&self) -> [(&'static str, u64, u64); 15] {
        [
            ("core modules", self.modules, 256),
            ("components within it", self.components, 64),
            ("instances", self.instances, 512),
            ("definitions of components", self.definitions, 20_000),
            ("functions", self.functions, 100_000),
            ("types of functions", self.types, 20_000),
            ("parameters of one function", self.parameters, 128),
            ("results of one function", self.results, 16),
            ("imports, exports and globals of core modules", self.linked, 100_000),
            ("elements of segments", self.elements, 20_000),
            ("segments", self.segments, 50_000),
            ("bytes of data", self.data, 48 << 20),
            ("bytes of one function", self.body, 768 << 10),
            ("locals of one function", self.locals, 10_000),
            ("blocks within each other in one function", self.depth, 4_000),
        ]
    }

    fn check(&self) -> Result<(), LoadError> {
        let over = self.bounds().into_iter().find(|(_, has, most)| has > most);
        over.map_or(Ok(()), |(what, has, most)| Err(LoadError::Dear { what, has, most }))
    }
}

/// Counts, and stops at the first bound that is passed. Bytes that are no component are left to the
/// compiler to refuse: it says better what is wrong with them.
pub(super) fn scan(bytes: &[u8]) -> Result<(), LoadError> {
    match count(bytes) {
        Ok(_) | Err(Stopped::Malformed) => Ok(()),
        Err(Stopped::Over(error)) => Err(error),
    }
}

enum Stopped {
    Malformed,
    Over(LoadError),
}

impl From<wasmparser::BinaryReaderError> for Stopped {
    fn from(_: wasmparser::BinaryReaderError) -> Self {
        Self::Malformed
    }
}

impl From<LoadError> for Stopped {
    fn from(error: LoadError) -> Self {
        Self::Over(error)
    }
}

fn count(bytes: &[u8]) -> Result<Counts, Stopped> {
    let mut counts = Counts::default();
    let (mut parser, mut outer, mut rest) = (Parser::new(0), Vec::new(), bytes);
    loop {
        let (payload, consumed) = match parser.parse(rest, true)? {
            Chunk::Parsed { consumed, payload } => (payload, consumed),
            Chunk::NeedMoreData(_) => return Err(Stopped::Malformed),
        };
        rest = rest.get(consumed..).unwrap_or_default();
        match payload {
            Payload::ModuleSection { parser: inner, .. }
            | Payload::ComponentSection { parser: inner, .. } => {
                outer.push(std::mem::replace(&mut parser, inner));
                if outer.len() > MAX_NESTING {
                    let (has, most) = (size(outer.len()), size(MAX_NESTING));
                    let what = "components within each other";
                    return Err(LoadError::Dear { what, has, most }.into());
                }
                // Which of the two, its header says.
            }
            Payload::End(_) => match outer.pop() {
                Some(next) => parser = next,
                None => return Ok(counts),
            },
            other => counts.add(other, !outer.is_empty())?,
        }
        counts.check()?;
    }
}

impl Counts {
    fn add(&mut self, payload: Payload<'_>, within: bool) -> Result<(), Stopped> {
        match payload {
            Payload::Version { encoding: wasmparser::Encoding::Module, .. } => self.modules += 1,
            Payload::Version { .. } => self.components += u64::from(within),
            Payload::InstanceSection(section) => self.instances += u64::from(section.count()),
            Payload::ComponentInstanceSection(section) => {
                self.instances += u64::from(section.count());
            }
            Payload::CoreTypeSection(section) => self.definitions += u64::from(section.count()),
            Payload::ComponentAliasSection(section) => {
                self.definitions += u64::from(section.count());
            }
            Payload::ComponentTypeSection(section) => {
                self.definitions += u64::from(section.count());
            }
            Payload::ComponentCanonicalSection(section) => {
                self.definitions += u64::from(section.count());
            }
            Payload::ComponentImportSection(section) => {
                self.definitions += u64::from(section.count());
            }
            Payload::ComponentExportSection(section) => {
                self.definitions += u64::from(section.count());
            }
            Payload::TypeSection(section) => {
                self.types += u64::from(section.count());
                self.check()?;
                for function in section.into_iter_err_on_gc_types() {
                    let function = function?;
                    self.parameters = self.parameters.max(size(function.params().len()));
                    self.results = self.results.max(size(function.results().len()));
                }
            }
            Payload::ImportSection(section) => self.linked += u64::from(section.count()),
            Payload::ExportSection(section) => self.linked += u64::from(section.count()),
            Payload::GlobalSection(section) => self.linked += u64::from(section.count()),
            Payload::FunctionSection(section) => self.functions += u64::from(section.count()),
            Payload::ElementSection(section) => {
                self.segments += u64::from(section.count());
                self.check()?;
                for element in section {
                    self.elements += u64::from(match element?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    });
                    self.check()?;
                }
            }
            Payload::DataSection(section) => {
                self.segments += u64::from(section.count());
                self.check()?;
                for data in section {
                    self.data += size(data?.data.len());
                }
            }
            Payload::CodeSectionEntry(body) => self.add_body(&body)?,
            _ => {}
        }
        Ok(())
    }

    fn add_body(&mut self, body: &FunctionBody<'_>) -> Result<(), Stopped> {
        self.body = self.body.max(size(body.range().len()));
        self.check()?;
        let mut locals = 0_u64;
        for declared in body.get_locals_reader()? {
            locals = locals.saturating_add(u64::from(declared?.0));
        }
        self.locals = self.locals.max(locals);
        let (mut depth, mut operators) = (0_u64, body.get_operators_reader()?);
        while !operators.eof() {
            match operators.read()? {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                    depth += 1;
                    self.depth = self.depth.max(depth);
                }
                Operator::End => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        Ok(())
    }
}

fn size(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Counts {
        count(&wat::parse_str(text).unwrap()).ok().unwrap()
    }

    #[test]
    fn everything_is_counted_also_within() {
        let module = r#"(core module
            (type (func (param i32 i64) (result i32)))
            (import "" "" (table 10 funcref)) (memory 1) (global i32 (i32.const 0))
            (func $f (local i32 i32 i64) (block (loop (nop))) (nop)) (func)
            (elem (i32.const 0) func $f $f $f)
            (data "12345"))"#;
        let found = counts(&format!("(component {module} (component {module}))"));
        assert_eq!((found.modules, found.components), (2, 1));
        assert_eq!((found.functions, found.elements, found.data), (4, 6, 10));
        assert_eq!((found.segments, found.linked), (4, 4));
        assert_eq!((found.parameters, found.results), (2, 1));
        assert_eq!((found.locals, found.depth), (3, 2));
        assert!((8..64).contains(&found.body), "{}", found.body);
    }

    #[test]
    fn what_is_as_large_as_may_be_passes() {
        let parameters = "i32 ".repeat(128);
        let blocks = format!("{} {}", "block ".repeat(4_000), "end ".repeat(4_000));
        let text = format!("(component (core module (func (param {parameters}) {blocks})))");
        let found = counts(&text);
        assert_eq!((found.parameters, found.depth), (128, 4_000));
        assert!(scan(&wat::parse_str(text).unwrap()).is_ok());
    }

    #[test]
    fn what_is_damaged_is_left_to_the_compiler() {
        let good = wat::parse_str("(component (core module (func (nop))))").unwrap();
        for end in 0..good.len() {
            assert!(scan(&good[..end]).is_ok(), "{end} bytes");
        }
        assert!(scan(b"no component").is_ok());
    }
}
