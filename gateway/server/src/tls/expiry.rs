//! What of TLS ends, and when somebody should know.

use std::time::Duration;

use hub_model::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);
/// Renewal of a long-lived certificate is due this long before its end.
const NOTICE: Duration = Duration::from_secs(14 * 86_400);

/// Whose end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Server,
    ClientCa,
    ClientCrl,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Server, Self::ClientCa, Self::ClientCrl];

    /// The word in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::ClientCa => "client_ca",
            Self::ClientCrl => "client_crl",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Server => "the server's certificate",
            Self::ClientCa => "the certificate of the client authority",
            Self::ClientCrl => "the revocation list of",
        }
    }
}

/// Something with an end.
#[derive(Clone, Debug)]
pub(super) struct Dated {
    pub(super) kind: Kind,
    /// Subject or issuer.
    pub(super) name: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Dated {
    /// What to say about it when its end is near: within fourteen days, or within the last third of
    /// a shorter life.
    pub(super) fn notice(&self, now: Timestamp) -> Option<String> {
        let (what, name) = (self.kind.words(), &self.name);
        if now > self.not_after {
            let ended = in_words(now.since(self.not_after));
            return Some(format!("{what} `{name}` ended {ended} ago; renew it now"));
        }
        let left = self.not_after.since(now);
        let life = self.not_after.since(self.not_before);
        let near = NOTICE.min(life / 3);
        (left < near).then(|| format!("{what} `{name}` ends in {}; renew it", in_words(left)))
    }
}

fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (number, unit) = match seconds {
        s if time >= 2 * DAY => (s / 86_400, "days"),
        s if s >= 7_200 => (s / 3_600, "hours"),
        s if s >= 120 => (s / 60, "minutes"),
        s => (s, "seconds"),
    };
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn notice_comes_two_weeks_before_or_in_the_last_third() {
        let of = |life: i64| Dated {
            kind: Kind::Server,
            name: "CN=hub".to_owned(),
            not_before: at(0),
            not_after: at(life),
        };
        let day = 86_400;
        let year = of(365 * day);
        assert_eq!(year.notice(at((365 - 15) * day)), None);
        let said = year.notice(at((365 - 13) * day)).unwrap();
        assert_eq!(said, "the server's certificate `CN=hub` ends in 13 days; renew it");
        let hour = of(3_600);
        assert_eq!(hour.notice(at(2_390)), None);
        assert!(hour.notice(at(2_410)).unwrap().contains("ends in 19 minutes"));
        assert!(hour.notice(at(3_661)).unwrap().contains("ended 61 seconds ago"));
    }
}
