//! Cedar's own formatter, with its own settings: what `cedar format` writes.

use cedar_policy_formatter::{Config, policies_str_to_pretty};

/// The text as the formatter writes it.
///
/// # Errors
/// Cedar's words for why the text cannot be read.
pub fn formatted(text: &str) -> Result<String, String> {
    // The formatter wants a policy.
    if text.parse::<cedar_policy::PolicySet>().is_ok_and(|set| set.is_empty()) {
        return Ok(text.to_owned());
    }
    policies_str_to_pretty(text, &Config::default())
        .map_err(|report| report.chain().map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// The first line, from 1, that the formatter would write otherwise.
#[must_use]
pub fn first_difference(text: &str, formatted: &str) -> Option<usize> {
    if text == formatted {
        return None;
    }
    let same = text.lines().zip(formatted.lines()).take_while(|(a, b)| a == b).count();
    Some(same + 1)
}
