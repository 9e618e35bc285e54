//! Generates the Rust bindings of the plugin SDK: `sdk/generate/run`, from anywhere. Its output is
//! part of the repository, so that authors of plugins compile no generator.

use std::error::Error;
use std::fs;
use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_bindgen_rust::Opts;

const WORLDS: [(&str, &str); 3] =
    [("rotation-schedule", "rotation"), ("kdf-profile", "kdf"), ("audit-sink", "sink")];

fn main() -> Result<(), Box<dyn Error>> {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin");
    let wit = sdk.join("../../wit");
    for (world, module) in WORLDS {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_path(&wit)?;
        let id = resolve.select_world(&[package], Some(world))?;
        let options = Opts {
            format: true,
            pub_export_macro: true,
            export_macro_name: Some(format!("export_{module}_bindings")),
            default_bindings_module: Some(format!("cipher_hub_plugin::bindings::{module}")),
            // Each world's section has its own name, and the author's crate links one of them.
            type_section_suffix: Some(format!("-{module}")),
            ..Opts::default()
        };
        let mut files = Files::default();
        options.build().generate(&mut resolve, id, &mut files)?;
        let (_, text) = files.iter().next().ok_or("nothing was generated")?;
        // Macros are exported at the root of the crate: one `lifecycle` for each world.
        let text = String::from_utf8(text.to_vec())?
            .replace("_lifecycle_0_1_0_cabi", &format!("_lifecycle_of_{module}_cabi"));
        fs::write(sdk.join(format!("src/bindings/{module}.rs")), text)?;
    }
    fs::write(sdk.join("src/bindings/wit.sum"), format!("{:016x}\n", sum(&wit)?))?;
    Ok(())
}

/// FNV-1a over the files by name: a test of the SDK compares it, so that the bindings are made anew
/// when the contract changes.
fn sum(wit: &Path) -> Result<u64, Box<dyn Error>> {
    let mut files: Vec<_> = fs::read_dir(wit)?.collect::<Result<_, _>>()?;
    files.retain(|f| f.path().extension().is_some_and(|e| e == "wit"));
    files.sort_by_key(fs::DirEntry::file_name);
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        for byte in fs::read(file.path())? {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(sum)
}
