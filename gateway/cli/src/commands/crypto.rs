//! `cipher-hub encrypt`, `decrypt` and `rewrap`: filters from stdin to stdout.

use std::path::{Path, PathBuf};

use cipher_hub_client::{Client, MAX_PLAINTEXT, SecretBytes};
use clap::Args;
use hub_crypto::stream::{HEADER_LEN, StreamHeader};
use zeroize::Zeroizing;

use super::super::failure::Failure;
use super::super::files;
use super::super::output::clean;
use super::super::run::Session;
use super::super::values::{self, Place};
use super::stream;

/// Base64 of the largest plaintext, with room for header and prefix.
const MAX_CIPHERTEXT: usize = MAX_PLAINTEXT / 3 * 4 + 4096;

/// What the three have in common.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Pair bound to the data: not secret, logged, and needed again to decrypt
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    context: Vec<(String, String)>,
    /// Read this file instead of stdin
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Write this file instead of stdout, readable by you only
    #[arg(short = 'o', long = "out", id = "out", value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo hello | cipher-hub encrypt shop/orders > secret.txt
  cipher-hub encrypt shop/orders -i card.json -o card.ch --context order=4711
  tar c photos | cipher-hub encrypt shop/orders -o photos.chs

Up to 64 KiB the output is a line of text. Longer input becomes a binary stream, of any length and
in constant memory, under keys of AES_256_GCM and CHACHA20_POLY1305; --stream makes one of any
input. An output file appears when it is whole.")]
pub(crate) struct EncryptArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    #[command(flatten)]
    filter: Filter,
    /// Make a binary stream also of input up to 64 KiB
    #[arg(long)]
    stream: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub decrypt shop/orders < secret.txt
  cipher-hub decrypt --registration shop < secret.txt       (the ciphertext names its key)
  cipher-hub decrypt shop/orders -i card.ch -o card.json --context order=4711
  cipher-hub decrypt shop/orders -i photos.chs | tar x

A stream is told from a line of text by its first bytes. Its plaintext comes out while it is read:
when the exit code is not 0, do not use what was written to stdout. A file is written whole or not
at all.")]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub key rotate shop/orders && cipher-hub rewrap shop/orders < old > new
  cipher-hub rewrap --registration shop -i card.ch -o card.ch --context order=4711
  cipher-hub rewrap --registration shop --lines < old.ndjson > new.ndjson
  cipher-hub rewrap shop/orders --context order=4711 --new-context order=4712 < old > new

Lines are {\"ref\": …, \"ciphertext\": …, \"context\": …, \"newContext\": …}; each is answered by a line
with the new ciphertext or a problem, in order. Another context takes the permission keys.rebind.")]
pub(crate) struct RewrapArgs {
    /// Rewrap any number of ciphertexts, one JSON object a line
    #[arg(long, conflicts_with_all = ["key", "context", "new_context", "drop_context"])]
    lines: bool,
    /// Pair to bind instead of the old ones; not secret itself, and logged
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    new_context: Vec<(String, String)>,
    /// Bind no pairs from now on
    #[arg(long, conflicts_with = "new_context")]
    drop_context: bool,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    filter: Filter,
}

/// Where the key of a ciphertext is.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The key; without it the ciphertext says, within the registration
    #[arg(value_name = "REG/KEY")]
    key: Option<Place>,
    /// The registration, when no key is given; else that of the context
    #[arg(long, value_name = "REG", conflicts_with = "key")]
    registration: Option<String>,
}

pub(crate) async fn encrypt(args: EncryptArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let context = values::context(args.filter.context)?;
    let client = session.connect()?;
    let at = args.key;
    let mut opened = stream::open(session, args.filter.input.as_deref(), MAX_PLAINTEXT).await?;
    if args.stream || opened.start.len() > MAX_PLAINTEXT {
        let out = args.filter.out.as_deref();
        if out.is_none() && session.console.out_terminal {
            return Err(Failure::usage(
                "a stream is no text, and stdout is a terminal",
                "write it to a file: -o FILE",
            ));
        }
        let (body, len) = opened.body();
        let answer = client.encrypt_stream(&at.registration, &at.name, body, &context).await?;
        let sent = stream::write(session, answer, out, len).await?;
        session.console.detail(&format!("{at}  {sent} bytes"));
        return Ok(());
    }
    let plaintext = SecretBytes::new(std::mem::take(&mut *opened.start));
    let answer = client.encrypt(&at.registration, &at.name, plaintext, &context).await?;
    if session.global.dry_run {
        return Ok(());
    }
    session.console.detail(&format!("{at}  version {}", answer.version));
    let line = format!("{}\n", clean(&answer.ciphertext));
    write(session, args.filter.out.as_deref(), line.as_bytes())
}

pub(crate) async fn decrypt(args: DecryptArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let context = values::context(args.filter.context)?;
    let (client, registration, key) = place(args.source, session)?;
    let opened = stream::open(session, args.filter.input.as_deref(), MAX_CIPHERTEXT).await?;
    let header = opened.start.get(..HEADER_LEN).map(StreamHeader::parse);
    if let Some(Ok(header)) = header {
        let out = args.filter.out.as_deref();
        if out.is_none() && session.console.out_terminal {
            return Err(Failure::usage(
                "the data may be anything, and stdout is a terminal",
                "write it to a file: -o FILE, or pass it on: | less",
            ));
        }
        let key = key.unwrap_or_else(|| header.key.to_string());
        let (body, len) = opened.body();
        let answer = client.decrypt_stream(&registration, &key, body, &context).await?;
        session.console.detail(&format!("version {}", header.version));
        stream::write(session, answer, out, len).await?;
        return Ok(());
    }
    let ciphertext = text(&opened.start)?;
    let answer = match key {
        Some(key) => client.decrypt_with_key(&registration, &key, &ciphertext, &context).await?,
        None => client.decrypt(&registration, &ciphertext, &context).await?,
    };
    if session.global.dry_run {
        return Ok(());
    }
    session.console.detail(&format!("version {}", answer.version));
    let (data, out) = (answer.plaintext.expose_secret(), args.filter.out.as_deref());
    if out.is_none() && session.console.out_terminal && !is_text(data) {
        return Err(Failure::usage(
            "the data is not plain text, and stdout is a terminal",
            "write it to a file: -o FILE",
        ));
    }
    write(session, out, data)
}

pub(crate) async fn rewrap(args: RewrapArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    if args.lines {
        return rewrap_lines(args, session).await;
    }
    let context = values::context(args.filter.context)?;
    let changed = args.drop_context || !args.new_context.is_empty();
    let new = values::context(args.new_context)?;
    let (client, registration, key) = place(args.source, session)?;
    let ciphertext = ciphertext(session, args.filter.input.as_deref()).await?;
    let answer = match key {
        key if changed => {
            client.rebind(&registration, key.as_deref(), &ciphertext, &context, &new).await?
        }
        Some(key) => client.rewrap_with_key(&registration, &key, &ciphertext, &context).await?,
        None => client.rewrap(&registration, &ciphertext, &context).await?,
    };
    if session.global.dry_run {
        return Ok(());
    }
    let line = format!("{}\n", clean(&answer.ciphertext));
    write(session, args.filter.out.as_deref(), line.as_bytes())?;
    session.done(&format!("version {} -> {}", answer.from_version, answer.version));
    Ok(())
}

async fn rewrap_lines(args: RewrapArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    if session.global.dry_run {
        return Err(Failure::usage("lines have no dry run", "try one ciphertext without --lines"));
    }
    let (client, registration, _) = place(args.source, session)?;
    let (body, len) = stream::open(session, args.filter.input.as_deref(), 0).await?.body();
    let answer = client.rewrap_stream(&registration, body).await?;
    stream::write(session, answer, args.filter.out.as_deref(), len).await.map(drop)
}

/// The registration and, when given, the key.
fn place(
    source: Source,
    session: &mut Session<'_>,
) -> Result<(Client, String, Option<String>), Failure> {
    let (client, of_context) = session.connect_with_registration()?;
    if let Some(at) = source.key {
        return Ok((client, at.registration, Some(at.name)));
    }
    match source.registration.or(of_context) {
        Some(registration) => Ok((client, registration, None)),
        None => Err(Failure::usage(
            "it is not said in which registration the key is",
            "give REG/KEY or --registration REG, or remember one: cipher-hub login --registration",
        )),
    }
}

/// The ciphertext without the white space around it.
async fn ciphertext(
    session: &mut Session<'_>,
    input: Option<&Path>,
) -> Result<Zeroizing<String>, Failure> {
    let Some(bytes) = files::read(session.console, input, MAX_CIPHERTEXT).await? else {
        return Err(too_long());
    };
    text(&bytes)
}

fn too_long() -> Failure {
    Failure::usage(
        format!("the input is larger than {MAX_CIPHERTEXT} bytes, the most a ciphertext has"),
        "give one ciphertext at a time",
    )
}

fn text(bytes: &[u8]) -> Result<Zeroizing<String>, Failure> {
    if bytes.len() > MAX_CIPHERTEXT {
        return Err(too_long());
    }
    let text = std::str::from_utf8(bytes).map(str::trim).unwrap_or_default();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::usage(
            "the input is not a ciphertext",
            "it looks like ch1:1:AQEB…, and is what `cipher-hub encrypt` wrote",
        ));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// Whether a terminal can show it without being steered by it.
fn is_text(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| {
        text.lines().all(|line| clean(&line.replace('\t', " ")).len() == line.len())
    })
}

fn write(session: &mut Session<'_>, out: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    match out {
        Some(path) => {
            files::write_private(path, bytes).map_err(|error| Failure::file(path, &error))
        }
        None => session.console.data(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_terminals_is_no_text() {
        assert!(is_text("grüße\tyou\r\n\nbye".as_bytes()));
        assert!(!is_text(b"\x1b[2J"));
        assert!(!is_text(b"\xff\xfe"));
        assert!(!is_text(b"a\0b"));
    }
}
