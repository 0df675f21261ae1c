//! What `/metrics` shows. Every label has a closed set of values.

use prometheus::{
    Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};

/// The metrics of the controllers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// 1 while this process leads.
    pub leader: IntGauge,
    /// Keys that wait for a worker.
    pub queue_depth: IntGauge,
    /// Reconciles by `kind` and `outcome` (`settled`, `again`, `conflict`, `error`).
    pub reconciles: IntCounterVec,
    /// Decisions of the scheduler by `outcome`: `bound`, or the reason of the wait.
    pub decisions: IntCounterVec,
    /// Seconds from the creation of an Instance to its binding.
    pub bind_seconds: Histogram,
    /// Seconds that one decision took.
    pub decision_seconds: Histogram,
    /// Writes to the API by `kind`, `verb` and `outcome` (`ok`, `conflict`, `error`).
    pub writes: IntCounterVec,
    /// Hypervisors by `state`: `ready` or `stale`.
    pub hypervisors: IntGaugeVec,
    /// Instances by `state`: `bound` or `waiting`.
    pub instances: IntGaugeVec,
    /// Events that were dropped because the API did not keep up.
    pub events_dropped: IntGauge,
}

impl Metrics {
    /// Makes and registers them.
    ///
    /// # Errors
    /// When two have one name: a fault of this module.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            leader: IntGauge::new("kilonova_leader", "1 while this process leads.")?,
            queue_depth: IntGauge::new("kilonova_queue_depth", "Keys that wait for a worker.")?,
            reconciles: counters(
                "kilonova_reconciles_total",
                "Reconciles by kind and outcome.",
                &["kind", "outcome"],
            )?,
            decisions: counters(
                "kilonova_scheduler_decisions_total",
                "Decisions of the scheduler by outcome.",
                &["outcome"],
            )?,
            bind_seconds: histogram(
                "kilonova_bind_seconds",
                "Seconds from the creation of an Instance to its binding.",
                (0.005, 2.0, 16),
            )?,
            decision_seconds: histogram(
                "kilonova_scheduler_decision_seconds",
                "Seconds that one decision of the scheduler took.",
                (0.000_01, 4.0, 10),
            )?,
            writes: counters(
                "kilonova_writes_total",
                "Writes to the API by kind, verb and outcome.",
                &["kind", "verb", "outcome"],
            )?,
            hypervisors: gauges("kilonova_hypervisors", "Hypervisors by state.")?,
            instances: gauges("kilonova_instances", "Instances by state.")?,
            events_dropped: IntGauge::new(
                "kilonova_events_dropped",
                "Events that were dropped because the API did not keep up.",
            )?,
        };
        metrics.register(registry)?;
        Ok(metrics)
    }

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let Self {
            leader,
            queue_depth,
            reconciles,
            decisions,
            bind_seconds,
            decision_seconds,
            writes,
            hypervisors,
            instances,
            events_dropped,
        } = self.clone();
        registry.register(Box::new(leader))?;
        registry.register(Box::new(queue_depth))?;
        registry.register(Box::new(reconciles))?;
        registry.register(Box::new(decisions))?;
        registry.register(Box::new(bind_seconds))?;
        registry.register(Box::new(decision_seconds))?;
        registry.register(Box::new(writes))?;
        registry.register(Box::new(hypervisors))?;
        registry.register(Box::new(instances))?;
        registry.register(Box::new(events_dropped))
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn gauges(name: &str, help: &str) -> prometheus::Result<IntGaugeVec> {
    IntGaugeVec::new(Opts::new(name, help), &["state"])
}

/// `buckets`: first, factor, count.
fn histogram(name: &str, help: &str, buckets: (f64, f64, usize)) -> prometheus::Result<Histogram> {
    let (first, factor, count) = buckets;
    let buckets = exponential_buckets(first, factor, count)?;
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
}
