//! Plugins: WebAssembly components of the package `cipher-hub:plugin` (`wit/`), written by people
//! whom nobody needs to trust. No key byte is in reach of this crate.
