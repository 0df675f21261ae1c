//! What `/metrics` shows. Every label has a closed set of values.

use kilonova_agent_core::steps::Step;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets,
};
use std::time::Duration;

/// The metrics of the agent.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// 1 while libvirt answers.
    pub libvirt_up: IntGauge,
    /// Instances with a task.
    pub instances: IntGauge,
    steps: HistogramVec,
    failures: IntCounterVec,
    writes: IntCounterVec,
}

impl Metrics {
    /// Makes and registers them.
    ///
    /// # Errors
    /// When one is registered already: a fault of this module.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = HistogramOpts::new("kilonova_agent_step_seconds", "Duration of a step.");
        let seconds = seconds.buckets(exponential_buckets(0.005, 2.0, 16)?);
        let failures = Opts::new("kilonova_agent_step_failures_total", "Steps that failed.");
        let writes = Opts::new("kilonova_agent_writes_total", "Writes to the API server.");
        let metrics = Self {
            libvirt_up: IntGauge::new("kilonova_agent_libvirt_up", "1 while libvirt answers.")?,
            instances: IntGauge::new("kilonova_agent_instances", "Instances with a task.")?,
            steps: HistogramVec::new(seconds, &["step"])?,
            failures: IntCounterVec::new(failures, &["step"])?,
            writes: IntCounterVec::new(writes, &["object", "outcome"])?,
        };
        registry.register(Box::new(metrics.libvirt_up.clone()))?;
        registry.register(Box::new(metrics.instances.clone()))?;
        registry.register(Box::new(metrics.steps.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.writes.clone()))?;
        Ok(metrics)
    }

    /// A step ended.
    pub fn step(&self, step: &Step, took: Duration, failed: bool) {
        let label = [step.name()];
        self.steps
            .with_label_values(&label)
            .observe(took.as_secs_f64());
        if failed {
            self.failures.with_label_values(&label).inc();
        }
    }

    /// A write ended.
    pub fn write(&self, object: &'static str, ok: bool) {
        let outcome = if ok { "ok" } else { "error" };
        self.writes.with_label_values(&[object, outcome]).inc();
    }
}
