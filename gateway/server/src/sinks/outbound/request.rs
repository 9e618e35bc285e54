//! What a plugin may say in a request. Everything that is not known to be harmless is refused, and
//! the reason is told: it is the author of the plugin who reads it.

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// The longest path with its query.
const MAX_PATH: usize = 4096;
/// The most headers, and bytes of them.
const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// The longest body.
const MAX_BODY: usize = 4 * 1024 * 1024;

pub(super) fn method(text: &str) -> Result<Method, &'static str> {
    Ok(match text {
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "GET" => Method::GET,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        _ => return Err("method: POST, PUT, GET, PATCH or DELETE"),
    })
}

/// Base and path joined: what a server makes of it lies below the base, however it reads escapes,
/// empty segments and parameters.
pub(super) fn path(base: &str, wanted: &str) -> Result<String, &'static str> {
    if wanted.len() > MAX_PATH {
        return Err("path: too long");
    }
    let (path, query) = match wanted.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (wanted, None),
    };
    if !path.is_empty() && !path.starts_with('/') {
        return Err("path: must be empty or begin with /");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:/%".contains(c);
    if !path.chars().all(plain) {
        return Err("path: a character that does not belong there");
    }
    if path.contains("//") {
        return Err("path: an empty segment");
    }
    // A server may cut `;…` off a segment before it looks at dots.
    let name = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    if path.split('/').map(name).any(|segment| matches!(&*segment, "." | "..")) {
        return Err("path: a segment of dots");
    }
    let unescaped = unescaped(path)?;
    // Overlong forms of `.` and `/` are no UTF-8, and lenient servers read them all the same.
    let text = str::from_utf8(&unescaped).map_err(|_| "path: escapes that are no UTF-8")?;
    if text.chars().any(|c| !c.is_ascii() && !is_plain_letter(c)) {
        return Err("path: an escape of a character that may be read as another");
    }
    for byte in escaped(path)? {
        // `%2e`, `%2f`, `%5c` and `%3b` are what was refused above; `%25` may be read twice.
        if byte < 0x20 || matches!(byte, b'.' | b'/' | b'\\' | b';' | b'%' | b'?' | b'#' | 0x7f) {
            return Err("path: an escape that does not belong there");
        }
    }
    let Some(query) = query else {
        let joined = format!("{base}{path}");
        return Ok(if joined.is_empty() { "/".to_owned() } else { joined });
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:/?%".contains(c);
    if !query.chars().all(plain) {
        return Err("path: a character that does not belong into a query");
    }
    if escaped(query)?.iter().any(|byte| *byte < 0x20 || *byte == 0x7f) {
        return Err("path: an escape that does not belong into a query");
    }
    let root = if base.is_empty() && path.is_empty() { "/" } else { "" };
    Ok(format!("{base}{path}{root}?{query}"))
}

/// Whether a character beyond ASCII is a letter or digit, and not of those that servers which
/// normalize make others of: fullwidth and compatibility forms, dots and slashes among them.
fn is_plain_letter(c: char) -> bool {
    let normalized_away = matches!(
        c,
        '\u{2000}'..='\u{2bff}' | '\u{fb00}'..='\u{fdff}' | '\u{fe00}'..='\u{feff}'
            | '\u{ff00}'..='\u{ffff}' | '\u{1d400}'..='\u{1d7ff}' | '\u{1ee00}'..='\u{1f2ff}'
    );
    c.is_alphanumeric() && !normalized_away
}

/// The bytes that a path is of when its escapes are read.
fn unescaped(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut escapes = escaped(text)?.into_iter();
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.extend(escapes.next());
        bytes.extend(part.as_bytes().iter().skip(2));
    }
    Ok(bytes)
}

/// The bytes that stand as escapes.
fn escaped(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut found = Vec::new();
    for part in text.split('%').skip(1) {
        let digits = part.get(..2).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        found.push(byte.ok_or("path: % without two hex digits")?);
    }
    Ok(found)
}

/// Whether a header is of the connection, of credentials, of the body's framing or of where a
/// request comes from or goes to.
pub(super) fn is_denied(name: &HeaderName) -> bool {
    const DENIED: [HeaderName; 16] = [
        header::HOST,
        header::AUTHORIZATION,
        header::WWW_AUTHENTICATE,
        header::COOKIE,
        header::SET_COOKIE,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
        header::FORWARDED,
        header::VIA,
        header::MAX_FORWARDS,
        header::REFERER,
    ];
    const WORDS: [&str; 18] = [
        "keep-alive",
        "http2-settings",
        "x-real-ip",
        "x-client-ip",
        "client-ip",
        "x-cluster-client-ip",
        "fastly-client-ip",
        "x-remote-user",
        "remote-user",
        "x-remote-addr",
        "remote-addr",
        "true-client-ip",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "cf-connecting-ip",
    ];
    const BEGINNINGS: [&str; 9] = [
        "proxy-",
        "x-forwarded",
        "sec-",
        "x-original-",
        "x-envoy-",
        "x-auth-request-",
        "x-ssl-",
        "ssl-client-",
        "x-client-cert",
    ];
    let text = name.as_str();
    DENIED.contains(name)
        || WORDS.contains(&text)
        || BEGINNINGS.iter().any(|begin| text.starts_with(begin))
}

pub(super) fn headers(fields: &[(String, String)]) -> Result<HeaderMap, &'static str> {
    if fields.len() > MAX_HEADERS {
        return Err("headers: too many");
    }
    let size: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_HEADER_BYTES {
        return Err("headers: too long");
    }
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "headers: a bad name")?;
        // An underscore is a dash to some servers, which makes another header of it.
        if name.as_str().contains('_') {
            return Err("headers: a name with an underscore");
        }
        if is_denied(&name) {
            return Err("headers: a name that is the host's");
        }
        let plain = value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
        let read = HeaderValue::from_str(value).ok().filter(|_| plain);
        let value = read.ok_or("headers: a bad value")?;
        headers.append(name, value);
    }
    Ok(headers)
}

pub(super) fn body(method: &Method, body: &[u8]) -> Result<(), &'static str> {
    if body.len() > MAX_BODY {
        return Err("body: too long");
    }
    if *method == Method::GET && !body.is_empty() {
        return Err("body: GET has none");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_below_the_base() {
        for (base, wanted, joined) in [
            ("", "", "/"),
            ("", "/", "/"),
            ("", "?a=b", "/?a=b"),
            ("/base", "", "/base"),
            ("/base", "/v1/logs", "/base/v1/logs"),
            ("/base", "/v1/logs/", "/base/v1/logs/"),
            ("/base", "?q=%41%2f..//x", "/base?q=%41%2f..//x"),
            ("/base", "/a;v=1/b.c/..d/.e", "/base/a;v=1/b.c/..d/.e"),
            ("/base", "/caf%C3%A9", "/base/caf%C3%A9"),
            ("/base", "/%E5%AF%86%E9%92%A5/a%20b", "/base/%E5%AF%86%E9%92%A5/a%20b"),
        ] {
            assert_eq!(path(base, wanted).as_deref(), Ok(joined), "{wanted}");
        }
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for wanted in [
            "v1",
            "https://elsewhere/",
            "//elsewhere/",
            "/a//b",
            "/..",
            "/../a",
            "/a/..",
            "/a/../b",
            "/.",
            "/a/./b",
            "/..;/a",
            "/..;x=1/a",
            "/.;/a",
            "/%2e%2e/a",
            "/%2E./a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/..\\a",
            "/a%00",
            "/a%0d%0aHost:x",
            "/a%0A",
            "/a%7f",
            "/a%252e",
            "/a%25",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%3bb",
            // Overlong, cut off, half of a pair, fullwidth, a dot that is a leader, a slash of
            // fractions, a combining solidus, one of Roman numerals.
            "/%c0%ae%c0%ae%c0%afx",
            "/%e0%80%ae%e0%80%ae/x",
            "/a%c3",
            "/a%c3/%a9",
            "/%ed%a0%80",
            "/%ff",
            "/%ef%bc%8e%ef%bc%8e/x",
            "/a%ef%bc%8fb",
            "/%ef%bc%a1",
            "/%e2%80%a4%e2%80%a4/x",
            "/a%e2%81%84b",
            "/a%cc%b8b",
            "/%e2%85%a0",
            "/a%3f",
            "/a%23",
            "/a#b",
            "@elsewhere/",
            "/@elsewhere",
            "/a b",
            "/a\tb",
            "/a\r\nX: y",
            "/a\0",
            "/é",
            "/a\u{ff0f}b",
            "/a?b=\r\n",
            "/a?b c",
            "/a?b=%0a",
            "/a?b=%00",
            "/a?b=%",
            "/a?b#c",
            "/a?@b",
            "/a?é",
            ":80/a",
            ".elsewhere/",
            "/a\"b",
            "/a<b",
            "/a|b",
            "/a`b",
            "/a{b}",
            "/a[b]",
            "/a^b",
        ] {
            let joined = path("/base", wanted);
            assert!(joined.is_err(), "{wanted:?}: {joined:?}");
        }
        assert!(path("", &format!("/{}", "a".repeat(MAX_PATH))).is_err());
    }

    #[test]
    fn what_is_joined_is_a_path_to_the_parser_too() {
        let alphabet = ["/", ".", "..", "%2e", "%2f", ";", "@", ":", "?", "a", "//", "\\", "#"];
        // All words of up to four parts.
        let mut words = vec![String::new()];
        for _ in 0..4 {
            let longer = words.iter().flat_map(|word| alphabet.map(|part| format!("{word}{part}")));
            words = longer.chain(std::iter::once(String::new())).collect();
            for word in &words {
                let Ok(joined) = path("/base", word) else { continue };
                let uri: http::Uri = joined.parse().unwrap();
                assert!(uri.authority().is_none() && uri.scheme().is_none(), "{joined}");
                let below = uri.path() == "/base" || uri.path().starts_with("/base/");
                let dots = uri.path().split('/').any(|segment| matches!(segment, "." | ".."));
                assert!(below && !dots, "{word}: {joined}");
            }
        }
    }

    #[test]
    fn headers_of_the_connection_and_of_credentials_are_refused() {
        let try_one = |name: &str, value: &str| headers(&[(name.to_owned(), value.to_owned())]);
        for name in [
            "Host",
            "authorization",
            "Cookie",
            "set-cookie",
            "Connection",
            "Keep-Alive",
            "TE",
            "Content-Length",
            "content-length",
            "Transfer-Encoding",
            "transfer_encoding",
            "Trailer",
            "Upgrade",
            "Proxy-Authorization",
            "proxy-connection",
            "Forwarded",
            "X-Forwarded-For",
            "Client-IP",
            "X-Cluster-Client-IP",
            "Fastly-Client-IP",
            "X-Envoy-External-Address",
            "X-Remote-User",
            "Remote-User",
            "X-Auth-Request-Email",
            "X-SSL-Client-CN",
            "SSL-Client-Verify",
            "X-Client-Cert",
            "x-forwarded",
            "X-Real-IP",
            "Via",
            "Expect",
            "X-HTTP-Method-Override",
            "X-Original-URL",
            "Sec-WebSocket-Key",
            "",
            " ",
            "a b",
            "a:b",
            "a\r\nb",
            "é",
            "a\0",
            "host ",
            ":authority",
        ] {
            assert!(try_one(name, "x").is_err(), "{name:?}");
        }
        for value in ["a\r\nHost: b", "a\n", "a\0", "\u{7f}", "é", "\r"] {
            assert!(try_one("x-team", value).is_err(), "{value:?}");
        }
        for name in ["Content-Type", "content-encoding", "X-Signature", "Idempotency-Key", "Accept"]
        {
            assert_eq!(try_one(name, "a b").unwrap().len(), 1, "{name}");
        }
        let many = vec![("x-a".to_owned(), "b".to_owned()); MAX_HEADERS + 1];
        assert!(headers(&many).is_err());
        assert!(try_one("x-a", &"b".repeat(MAX_HEADER_BYTES)).is_err());
    }

    #[test]
    fn methods_are_a_list_and_bodies_bounded() {
        for text in ["post", "HEAD", "CONNECT", "TRACE", "OPTIONS", "", "POST ", "GET\r\n"] {
            assert!(method(text).is_err(), "{text:?}");
        }
        assert!(body(&Method::GET, b"x").is_err());
        assert!(body(&Method::POST, &vec![0; MAX_BODY]).is_ok());
        assert!(body(&Method::POST, &vec![0; MAX_BODY + 1]).is_err());
    }
}
