//! What plugins cost, by name: read when somebody reads the metrics.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, IntCounterVec, IntGaugeVec, Opts};

use super::Catalogue;

/// The families of a catalogue.
pub(crate) struct PluginMetrics {
    catalogue: Arc<Catalogue>,
    calls: IntCounterVec,
    failures: IntCounterVec,
    duration: CounterVec,
    fuel: IntCounterVec,
    overrun: GaugeVec,
    enabled: IntGaugeVec,
    failed: IntGaugeVec,
}

impl PluginMetrics {
    /// Families without members.
    ///
    /// # Errors
    /// When a name is malformed, which a test rules out.
    pub(crate) fn new(catalogue: Arc<Catalogue>) -> prometheus::Result<Self> {
        let of = |name: &str, help: &str| Opts::new(format!("cipher_hub_plugin_{name}"), help);
        let plugin = &["plugin"];
        Ok(Self {
            catalogue,
            calls: IntCounterVec::new(
                of("calls_total", "Calls of a plugin since it was loaded."),
                plugin,
            )?,
            failures: IntCounterVec::new(
                of("failures_total", "Calls of a plugin that failed, by kind."),
                &["plugin", "kind"],
            )?,
            duration: CounterVec::new(
                of("duration_seconds_total", "Time of all calls of a plugin."),
                plugin,
            )?,
            fuel: IntCounterVec::new(of("fuel_total", "Fuel of all calls of a plugin."), plugin)?,
            overrun: GaugeVec::new(
                of(
                    "overrun_seconds",
                    "Most time by which a call outlived its limit before it was stopped.",
                ),
                plugin,
            )?,
            enabled: IntGaugeVec::new(of("enabled", "1 where a plugin is enabled."), plugin)?,
            failed: IntGaugeVec::new(
                of("failed", "1 where what is to be in service is not."),
                plugin,
            )?,
        })
    }
}

impl Collector for PluginMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let counters = [&self.calls, &self.failures, &self.fuel];
        let gauges = [&self.enabled, &self.failed];
        let counters = counters.into_iter().flat_map(|family| family.desc());
        let gauges = gauges.into_iter().flat_map(|family| family.desc());
        let counters = counters.chain(gauges).chain(self.duration.desc());
        counters.chain(self.overrun.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Read by one at a time; who is gone since the last time is gone here, too.
        for family in [&self.calls, &self.failures, &self.fuel] {
            family.reset();
        }
        self.enabled.reset();
        self.failed.reset();
        self.duration.reset();
        self.overrun.reset();
        for (name, shelved) in &**self.catalogue.service.load() {
            let name = name.as_str();
            self.enabled.with_label_values(&[name]).set(i64::from(shelved.record.value.enabled));
            let failed = i64::from(shelved.problem.is_some());
            self.failed.with_label_values(&[name]).set(failed);
            let Some(active) = &shelved.active else { continue };
            let stats = active.loaded.stats();
            self.calls.with_label_values(&[name]).inc_by(stats.calls);
            self.fuel.with_label_values(&[name]).inc_by(stats.fuel);
            self.duration.with_label_values(&[name]).inc_by(stats.time.as_secs_f64());
            self.overrun.with_label_values(&[name]).set(stats.overrun.as_secs_f64());
            for (kind, count) in stats.failures {
                self.failures.with_label_values(&[name, kind]).inc_by(count);
            }
        }
        let counters = [&self.calls, &self.failures, &self.fuel];
        let gauges = [&self.enabled, &self.failed];
        let counters = counters.into_iter().flat_map(Collector::collect);
        let gauges = gauges.into_iter().flat_map(Collector::collect);
        let families = counters.chain(gauges).chain(self.duration.collect());
        let families = families.chain(self.overrun.collect());
        families.filter(|family| !family.get_metric().is_empty()).collect()
    }
}
