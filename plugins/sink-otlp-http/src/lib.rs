//! Sends audit entries to an OpenTelemetry collector: log records of OTLP/HTTP 1.x in JSON.
//! `README.md` says how.

use std::fmt::Write as _;

use cipher_hub_plugin::http::{Request, Response, Verdict};
use cipher_hub_plugin::json::{hex, push_quoted, quote};
use cipher_hub_plugin::sink::{
    self, AuditSink, Batch, Chunks, Delivery, Entry, Outbound, Outcome, post_and_judge, reach,
};
use cipher_hub_plugin::{Config, Result};

#[derive(Debug)]
struct Otlp {
    endpoint: String,
    path: String,
    service: String,
    chunks: Chunks,
}

impl AuditSink for Otlp {
    fn new(config: &Config) -> Result<Self> {
        Ok(Self {
            endpoint: config.text_or("endpoint", "collector").to_owned(),
            path: config.text_or("path", "/v1/logs").to_owned(),
            service: config.text_or("service", "cipher-hub").to_owned(),
            chunks: Chunks {
                entries: config.integer("entries")?.unwrap_or(500),
                bytes: config.integer("bytes")?.unwrap_or(1 << 20),
            },
        })
    }

    fn deliver(&self, batch: &Batch, outside: &mut dyn Outbound) -> Result<Delivery> {
        let request = |entries: &[Entry]| self.request(entries);
        post_and_judge(outside, &self.endpoint, batch, self.chunks, request, judge)
    }

    fn probe(&self, outside: &mut dyn Outbound) -> Result<()> {
        reach(outside, &self.endpoint, &self.request(&[]))
    }
}

impl Otlp {
    fn request(&self, entries: &[Entry]) -> Request {
        let size: usize = entries.iter().map(|entry| entry.json.len() + 700).sum();
        let mut body = String::with_capacity(size + 300);
        body.push_str(r#"{"resourceLogs":[{"resource":{"attributes":["#);
        attribute(&mut body, "service.name", &self.service);
        body.push_str(r#"]},"scopeLogs":[{"scope":{"name":"cipher-hub.audit"},"logRecords":["#);
        for (n, entry) in entries.iter().enumerate() {
            if n > 0 {
                body.push(',');
            }
            record(&mut body, entry);
        }
        body.push_str("]}]}]}");
        Request::post(self.path.as_str(), "application/json", body)
    }
}

fn record(out: &mut String, entry: &Entry) {
    let (number, text) = match entry.outcome {
        Outcome::Success => (9, "INFO"),
        Outcome::Denied => (13, "WARN"),
        Outcome::Failure => (17, "ERROR"),
    };
    // Writing to a string does not fail.
    let _ = write!(
        out,
        r#"{{"timeUnixNano":"{}000000","severityNumber":{number},"severityText":"{text}","eventName":{},"body":{{"stringValue":"#,
        entry.at.as_millis(),
        quote(&entry.action),
    );
    push_quoted(out, &entry.json);
    out.push_str(r#"},"attributes":["#);
    let _ =
        write!(out, r#"{{"key":"audit.sequence","value":{{"intValue":"{}"}}}},"#, entry.sequence);
    attribute(out, "audit.outcome", entry.outcome.name());
    out.push(',');
    attribute(out, "audit.leaf_hash", &hex(&entry.leaf_hash));
    for (name, value) in [("enduser.id", &entry.actor), ("audit.registration", &entry.registration)]
    {
        if let Some(value) = value {
            out.push(',');
            attribute(out, name, value);
        }
    }
    out.push_str("]}");
}

fn attribute(out: &mut String, key: &str, value: &str) {
    let _ = write!(out, r#"{{"key":"{key}","value":{{"stringValue":"#);
    push_quoted(out, value);
    out.push_str("}}");
}

/// A collector may take a request and refuse records of it, which are not to be sent again.
fn judge(response: &Response) -> Verdict {
    let verdict = response.verdict();
    if verdict == Verdict::Stored {
        let text = String::from_utf8_lossy(&response.body);
        for name in [r#""rejectedLogRecords""#, r#""rejected_log_records""#] {
            let Some((_, rest)) = text.split_once(name) else { continue };
            let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ':' || c == '"');
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if digits.parse::<u64>().is_ok_and(|refused| refused > 0) {
                return Verdict::Refused(format!("the collector refused {digits} records"));
            }
        }
    }
    verdict
}

sink::export!(Otlp);

#[cfg(test)]
mod tests {
    use super::*;
    use cipher_hub_plugin::Fields;
    use cipher_hub_plugin::testing::{Outside, batch, status};

    fn otlp() -> Otlp {
        Otlp::new(&Fields::from([("service", "hub \"1\""), ("entries", "2")])).unwrap()
    }

    #[test]
    fn writes_log_records() {
        let mut batch = batch(1);
        batch.entries[0].json = r#"{"a":"b\n"}"#.to_owned();
        batch.entries[0].actor = None;
        let mut outside = Outside::new([Ok(status(200))]);
        let delivered = otlp().deliver(&batch, &mut outside);
        assert_eq!(delivered, Ok(Delivery::Acknowledged(2)));
        let (endpoint, request) = &outside.sent[0];
        assert_eq!((endpoint.as_str(), request.path.as_str()), ("collector", "/v1/logs"));
        let expected = concat!(
            r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":"#,
            r#"{"stringValue":"hub \"1\""}}]},"scopeLogs":[{"scope":{"name":"cipher-hub.audit"},"#,
            r#""logRecords":[{"timeUnixNano":"1795683601000000000","severityNumber":9,"#,
            r#""severityText":"INFO","eventName":"keys.encrypt","body":{"stringValue":"#,
            r#""{\"a\":\"b\\n\"}"},"attributes":[{"key":"audit.sequence","value":{"intValue":"1"}},"#,
            r#"{"key":"audit.outcome","value":{"stringValue":"success"}},{"key":"audit.leaf_hash","#,
            r#""value":{"stringValue":"abababababababababababababababababababababababababababababababab"}},"#,
            r#"{"key":"audit.registration","value":{"stringValue":"reg_01jd8r0000000000000000000a"}}]}]}]}]}"#,
        );
        assert_eq!(String::from_utf8_lossy(&request.body), expected);
    }

    #[test]
    fn records_that_were_refused_are_not_acknowledged() {
        let answer = |body: &str| {
            let response = Response { body: body.as_bytes().to_vec(), ..status(200) };
            otlp().deliver(&batch(1), &mut Outside::new([Ok(response)])).unwrap()
        };
        let refused = Delivery::Rejected("the collector refused 1 records".to_owned());
        assert_eq!(answer(r#"{"partialSuccess":{"rejectedLogRecords":"1"}}"#), refused);
        assert_eq!(answer(r#"{"partialSuccess": {"rejected_log_records" : 1}}"#), refused);
        for body in
            ["{}", "", r#"{"partialSuccess":{"rejectedLogRecords":0}}"#, r#"{"partialSuccess":{}}"#]
        {
            assert_eq!(answer(body), Delivery::Acknowledged(2), "{body}");
        }
    }

    #[test]
    fn sends_in_requests_of_the_size_that_was_set() {
        let mut outside = Outside::new([Ok(status(200)), Ok(status(200)), Ok(status(503))]);
        let delivered = otlp().deliver(&batch(5), &mut outside);
        assert_eq!((delivered, outside.sent.len()), (Ok(Delivery::Acknowledged(5)), 3));
    }

    #[test]
    fn probes_without_a_record() {
        let mut outside = Outside::new([Ok(status(200)), Ok(status(404))]);
        assert_eq!(otlp().probe(&mut outside), Ok(()));
        assert!(otlp().probe(&mut outside).is_err());
        assert!(outside.sent[0].1.body.ends_with(br#""logRecords":[]}]}]}"#));
    }
}
