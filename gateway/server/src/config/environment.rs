//! The only file that reads the environment.

/// Every variable that is valid Unicode, for [`Config::load`].
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Whether the standard variables ask for spans over OTLP.
#[must_use]
pub fn otel_requested() -> bool {
    otel_requested_by(variable)
}

pub(super) fn otel_requested_by(variable: impl Fn(&'static str) -> Option<String>) -> bool {
    let is = |name, word: &str| variable(name).is_some_and(|v| v.eq_ignore_ascii_case(word));
    let endpoint = variable("OTEL_EXPORTER_OTLP_ENDPOINT")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"));
    endpoint.is_some() && !is("OTEL_SDK_DISABLED", "true") && !is("OTEL_TRACES_EXPORTER", "none")
}

/// One variable, when it is set and not empty.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
