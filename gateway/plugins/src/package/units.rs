//! Sizes and durations as manifests write them: a whole number and a unit, nothing between them.

use std::time::Duration;

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit))
}

/// `250ms`. Zero is no duration, nor is a century.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let micros = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    let duration = Duration::from_micros(number.checked_mul(micros)?);
    let most = Duration::from_secs(36_500 * 86_400);
    (!duration.is_zero() && duration <= most).then_some(duration)
}

/// `16MiB`. Zero is no size.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_needed_and_nothing_overflows() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("2d"), Some(Duration::from_secs(172_800)));
        assert_eq!(size("16MiB"), Some(16 << 20));
        for wrong in ["", "1", "ms", "0ms", "-1s", "1 s", "1.5s", "99999999999d", "1S"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        for wrong in ["", "1", "0B", "MiB", "1MB", "99999999999999GiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
