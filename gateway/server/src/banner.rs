//! What a start says on the terminal, and where the first administrator's key is shown.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use hub_model::secret::SecretText;

use crate::app::App;
use crate::open;

/// Writes the banner: what was made, where it listens, what to paste next.
pub fn banner(app: &App) {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    let scheme = if app.encrypted() { "https" } else { "http" };
    let version = env!("CARGO_PKG_VERSION");
    line(&format!("Cipher Hub {version}   {}", app.hub.id()));
    for address in app.addresses() {
        line(&format!("  API         {scheme}://{address}"));
    }
    if let Some(path) = app.unix_path() {
        // Whole, so that it can be pasted as an address from anywhere.
        let path = std::path::absolute(&path).unwrap_or(path);
        line(&format!("  Socket      unix:{}", path.display()));
    }
    if let Some(address) = app.management() {
        line(&format!("  Management  http://{address}  (/readyz, /metrics)"));
    }
    let data = app.config.data_dir.display();
    line(&format!("  Data        {data}  policies {}", app.hub.policies().revision_short()));
    for notice in &app.notices {
        line(&format!("  Warning     {notice}"));
    }
    let shown = first_key(app);
    if let Some(shown) = &shown {
        line(&format!("  The first administrator's key, valid for 24 hours{}", shown.note));
        if let Some(address) = app.addresses().first() {
            line(&format!("    export CIPHER_HUB_ADDR={scheme}://{address}"));
        }
        line(&format!("    export CIPHER_HUB_API_KEY={}", shown.value.expose_secret()));
        let program = std::env::args_os().next().map(std::path::PathBuf::from);
        let program = program.as_deref().map_or("cipher-hub".into(), Path::to_string_lossy);
        line(&format!("    {program} registration create shop   # README.md, \"Quick start\""));
    }
    let written = std::io::stderr().write_all(out.as_bytes());
    zeroize::Zeroize::zeroize(&mut out);
    if written.is_ok() && shown.is_some_and(|shown| shown.itself) {
        forget_first_key(&app.config.data_dir);
    }
}

struct Shown {
    note: &'static str,
    value: SecretText,
    /// Whether the value is the key and not a way to it.
    itself: bool,
}

/// On a terminal the key itself; elsewhere the private file it lies in since it was made, because
/// what is written there ends in logs. A later start names that file again while it is there.
fn first_key(app: &App) -> Option<Shown> {
    let path = open::first_key_file(&app.config.data_dir);
    if let Some(key) = app.first_key.as_ref().filter(|_| std::io::stderr().is_terminal()) {
        return Some(Shown { note: ", shown once:", value: key.clone(), itself: true });
    }
    path.exists().then(|| Shown {
        note: " lies in a private file; remove it when you have it:",
        value: SecretText::new(format!("$(cat {})", path.display())),
        itself: false,
    })
}

/// Removes the file of the first administrator's key, once the key itself was shown.
pub fn forget_first_key(data_dir: &Path) {
    let path = open::first_key_file(data_dir);
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the administrator's key was shown but its file is still there");
    }
}
