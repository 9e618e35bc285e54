//! What `cipher-hub plugin new` writes: the templates of `sdk/templates`, the contract, and for Rust
//! the crate that plugins are written with. All of it is in the program, so that a project can be
//! begun anywhere; a test compares the tables with the folders.

use clap::ValueEnum;

/// A language there are templates for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Rust.
    Rust,
    /// JavaScript.
    #[value(alias = "js")]
    Javascript,
    /// Python.
    Python,
    /// C.
    C,
}

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// When is a key rotated?
    #[value(alias = "rotation")]
    RotationSchedule,
    /// How is a key derived from another?
    #[value(alias = "kdf")]
    KdfProfile,
    /// How do audit entries reach a receiver?
    #[value(alias = "sink")]
    AuditSink,
}

/// The name of a file within a project, and its text.
pub(super) type File = (&'static str, &'static str);

/// A template.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) language: Language,
    pub(super) purpose: Purpose,
    pub(super) files: &'static [File],
}

macro_rules! files {
    ($folder:literal: $($file:literal),* $(,)?) => {
        &[$((
            $file,
            include_str!(concat!("../../../../../", $folder, "/", $file)),
        )),*]
    };
}

/// The contract, for every language: in the folder `wit`.
pub(super) const WIT: &[File] = files!("wit":
    "audit-sink.wit", "kdf-profile.wit", "rotation-schedule.wit", "types.wit",
);

/// The crate that plugins in Rust are written with, without its tests: in the folder `sdk`.
pub(super) const SDK: &[File] = files!("sdk/plugin":
    "Cargo.toml",
    "src/bindings/kdf.rs",
    "src/bindings/rotation.rs",
    "src/bindings/sink.rs",
    "src/bindings/wit.sum",
    "src/error.rs",
    "src/fields.rs",
    "src/guest/kdf.rs",
    "src/guest/mod.rs",
    "src/guest/rotation.rs",
    "src/guest/sink.rs",
    "src/http.rs",
    "src/json.rs",
    "src/kdf.rs",
    "src/lib.rs",
    "src/log.rs",
    "src/plan.rs",
    "src/rotation.rs",
    "src/sink.rs",
    "src/testing/execute.rs",
    "src/testing/mod.rs",
    "src/time/calendar.rs",
    "src/time/civil.rs",
    "src/time/mod.rs",
    "toolchain",
);

/// All templates.
pub(super) const TEMPLATES: &[Template] = &[
    Template {
        language: Language::Rust,
        purpose: Purpose::RotationSchedule,
        files: files!("sdk/templates/rust/rotation-schedule":
            "Cargo.toml",
            "README.md",
            "build",
            "cases/example.json",
            "cases/policy-wrong.json",
            "gitignore",
            "plugin.toml",
            "src/lib.rs",
        ),
    },
    Template {
        language: Language::Rust,
        purpose: Purpose::KdfProfile,
        files: files!("sdk/templates/rust/kdf-profile":
            "Cargo.toml",
            "README.md",
            "build",
            "cases/example.json",
            "cases/profile-unknown.json",
            "gitignore",
            "plugin.toml",
            "src/lib.rs",
        ),
    },
    Template {
        language: Language::Rust,
        purpose: Purpose::AuditSink,
        files: files!("sdk/templates/rust/audit-sink":
            "Cargo.toml",
            "README.md",
            "build",
            "cases/busy.json",
            "cases/example.json",
            "cases/settings-wrong.json",
            "gitignore",
            "plugin.toml",
            "src/lib.rs",
        ),
    },
    Template {
        language: Language::Javascript,
        purpose: Purpose::RotationSchedule,
        files: files!("sdk/templates/javascript/rotation-schedule":
            "README.md",
            "build",
            "cases/all-frozen.json",
            "cases/already-past.json",
            "cases/bad-freeze.json",
            "cases/bad-settings.json",
            "cases/clocks-back.json",
            "cases/clocks-forward.json",
            "cases/counted.json",
            "cases/default-parameters.json",
            "cases/example.json",
            "cases/far-east.json",
            "cases/frozen.json",
            "cases/good-policy.json",
            "cases/narrow-policy.json",
            "cases/overdue.json",
            "cases/same-day.json",
            "cases/used-up.json",
            "gitignore",
            "package-lock.json",
            "package.json",
            "plugin.js",
            "plugin.toml",
        ),
    },
    Template {
        language: Language::Javascript,
        purpose: Purpose::KdfProfile,
        files: files!("sdk/templates/javascript/kdf-profile":
            "README.md",
            "build",
            "cases/bad-settings.json",
            "cases/bad-tenant.json",
            "cases/example.json",
            "cases/long.json",
            "cases/profiles.json",
            "cases/sha512.json",
            "cases/stored-key.json",
            "cases/too-long.json",
            "cases/unknown-profile.json",
            "gitignore",
            "package-lock.json",
            "package.json",
            "plugin.js",
            "plugin.toml",
        ),
    },
    Template {
        language: Language::Javascript,
        purpose: Purpose::AuditSink,
        files: files!("sdk/templates/javascript/audit-sink":
            "README.md",
            "build",
            "cases/bad-settings.json",
            "cases/date.json",
            "cases/elsewhere.json",
            "cases/example.json",
            "cases/many.json",
            "cases/no-endpoint.json",
            "cases/nothing.json",
            "cases/one-too-large.json",
            "cases/overloaded.json",
            "cases/probe-fails.json",
            "cases/probe.json",
            "cases/refused.json",
            "cases/slow.json",
            "cases/small-requests.json",
            "cases/throttled.json",
            "cases/too-large.json",
            "cases/unauthorized.json",
            "cases/unreachable.json",
            "gitignore",
            "package-lock.json",
            "package.json",
            "plugin.js",
            "plugin.toml",
        ),
    },
    Template {
        language: Language::Python,
        purpose: Purpose::RotationSchedule,
        files: files!("sdk/templates/python/rotation-schedule":
            "README.md",
            "build",
            "cases/all-frozen.json",
            "cases/already-past.json",
            "cases/bad-freeze.json",
            "cases/bad-settings.json",
            "cases/clocks-back.json",
            "cases/clocks-forward.json",
            "cases/counted.json",
            "cases/default-parameters.json",
            "cases/example.json",
            "cases/far-east.json",
            "cases/frozen.json",
            "cases/good-policy.json",
            "cases/narrow-policy.json",
            "cases/overdue.json",
            "cases/same-day.json",
            "cases/used-up.json",
            "gitignore",
            "plugin.py",
            "plugin.toml",
            "requirements.txt",
        ),
    },
    Template {
        language: Language::Python,
        purpose: Purpose::KdfProfile,
        files: files!("sdk/templates/python/kdf-profile":
            "README.md",
            "build",
            "cases/bad-settings.json",
            "cases/bad-tenant.json",
            "cases/example.json",
            "cases/long.json",
            "cases/profiles.json",
            "cases/sha512.json",
            "cases/stored-key.json",
            "cases/too-long.json",
            "cases/unknown-profile.json",
            "gitignore",
            "plugin.py",
            "plugin.toml",
            "requirements.txt",
        ),
    },
    Template {
        language: Language::Python,
        purpose: Purpose::AuditSink,
        files: files!("sdk/templates/python/audit-sink":
            "README.md",
            "build",
            "cases/bad-settings.json",
            "cases/date.json",
            "cases/elsewhere.json",
            "cases/example.json",
            "cases/many.json",
            "cases/no-endpoint.json",
            "cases/nothing.json",
            "cases/one-too-large.json",
            "cases/overloaded.json",
            "cases/probe-fails.json",
            "cases/probe.json",
            "cases/refused.json",
            "cases/slow.json",
            "cases/small-requests.json",
            "cases/throttled.json",
            "cases/too-large.json",
            "cases/unauthorized.json",
            "cases/unreachable.json",
            "gitignore",
            "plugin.py",
            "plugin.toml",
            "requirements.txt",
        ),
    },
    Template {
        language: Language::C,
        purpose: Purpose::RotationSchedule,
        files: files!("sdk/templates/c/rotation-schedule":
            "README.md",
            "bindings/component_type.c",
            "bindings/guest.c",
            "bindings/guest.h",
            "build",
            "cases/all-frozen.json",
            "cases/already-past.json",
            "cases/bad-freeze.json",
            "cases/bad-settings.json",
            "cases/clocks-back.json",
            "cases/clocks-forward.json",
            "cases/counted.json",
            "cases/default-parameters.json",
            "cases/example.json",
            "cases/far-east.json",
            "cases/frozen.json",
            "cases/good-policy.json",
            "cases/narrow-policy.json",
            "cases/overdue.json",
            "cases/same-day.json",
            "cases/used-up.json",
            "gitignore",
            "plugin.c",
            "plugin.toml",
            "support/libc.c",
            "support/stdlib.h",
            "support/string.h",
            "support/text.h",
        ),
    },
    Template {
        language: Language::C,
        purpose: Purpose::KdfProfile,
        files: files!("sdk/templates/c/kdf-profile":
            "README.md",
            "bindings/component_type.c",
            "bindings/guest.c",
            "bindings/guest.h",
            "build",
            "cases/bad-settings.json",
            "cases/bad-tenant.json",
            "cases/example.json",
            "cases/long.json",
            "cases/profiles.json",
            "cases/sha512.json",
            "cases/stored-key.json",
            "cases/too-long.json",
            "cases/unknown-profile.json",
            "gitignore",
            "plugin.c",
            "plugin.toml",
            "support/libc.c",
            "support/stdlib.h",
            "support/string.h",
            "support/text.h",
        ),
    },
    Template {
        language: Language::C,
        purpose: Purpose::AuditSink,
        files: files!("sdk/templates/c/audit-sink":
            "README.md",
            "bindings/component_type.c",
            "bindings/guest.c",
            "bindings/guest.h",
            "build",
            "cases/bad-settings.json",
            "cases/date.json",
            "cases/elsewhere.json",
            "cases/example.json",
            "cases/many.json",
            "cases/no-endpoint.json",
            "cases/nothing.json",
            "cases/one-too-large.json",
            "cases/overloaded.json",
            "cases/probe-fails.json",
            "cases/probe.json",
            "cases/refused.json",
            "cases/slow.json",
            "cases/small-requests.json",
            "cases/throttled.json",
            "cases/too-large.json",
            "cases/unauthorized.json",
            "cases/unreachable.json",
            "gitignore",
            "plugin.c",
            "plugin.toml",
            "support/libc.c",
            "support/stdlib.h",
            "support/string.h",
            "support/text.h",
        ),
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::super::case::Case;
    use super::super::new;
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// Names and texts of a folder's files.
    fn walk(folder: &Path) -> BTreeMap<String, String> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
        while let Some(inner) = folders.pop() {
            for entry in std::fs::read_dir(inner).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
        found
    }

    fn table(files: &[File]) -> BTreeMap<String, String> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn word<T: ValueEnum>(value: T) -> String {
        value.to_possible_value().unwrap().get_name().to_owned()
    }

    #[test]
    fn the_tables_are_the_folders() {
        for template in TEMPLATES {
            let place =
                format!("sdk/templates/{}/{}", word(template.language), word(template.purpose));
            assert_eq!(table(template.files), walk(&root().join(&place)), "{place}");
        }
        assert_eq!(table(SDK), {
            let mut files = walk(&root().join("sdk/plugin"));
            files.retain(|name, _| {
                !["tests/", "target/", "Cargo.lock"].iter().any(|other| name.starts_with(other))
            });
            files
        });
        let mut wit = walk(&root().join("wit"));
        wit.retain(|name, _| name.ends_with(".wit"));
        assert_eq!(table(WIT), wit);
    }

    #[test]
    fn every_folder_is_in_the_table() {
        for language in Language::value_variants() {
            for purpose in Purpose::value_variants() {
                let place = format!("sdk/templates/{}/{}", word(*language), word(*purpose));
                let there = TEMPLATES
                    .iter()
                    .filter(|t| t.language == *language && t.purpose == *purpose)
                    .count();
                assert_eq!(there, 1, "{place}");
            }
        }
    }

    #[test]
    fn every_template_is_complete() {
        for template in TEMPLATES {
            let world = word(template.purpose);
            let place = format!("{}/{world}", word(template.language));
            let name = "my-first-plugin".parse().unwrap();
            let project: BTreeMap<_, _> = new::project(&name, template.language, template.purpose)
                .unwrap()
                .into_iter()
                .collect();
            for wanted in ["plugin.toml", "build", "README.md", ".gitignore", "wit/types.wit"] {
                assert!(project.contains_key(wanted), "{place} has no {wanted}");
            }
            let manifest = hub_plugins::Manifest::parse(&project["plugin.toml"]).unwrap();
            assert_eq!(manifest.name, name, "{place}");
            assert_eq!(manifest.world.name(), world, "{place}");
            assert!(project["build"].starts_with("#!/bin/sh\n"), "{place}");
            let cases: Vec<_> = project
                .iter()
                .filter(|(name, _)| name.starts_with("cases/") && name.ends_with(".json"))
                .map(|(name, text)| {
                    Case::parse(text, &world).unwrap_or_else(|why| panic!("{place}/{name}: {why}"))
                })
                .collect();
            assert!(cases.len() >= 2, "{place}");
            assert!(cases.iter().any(|case| case.expect_error.is_some()), "{place}");
            for (name, text) in &project {
                let left = text.contains("{{name}}") || text.contains("{{crate}}");
                assert!(!left, "{place}/{name}");
            }
        }
    }
}
