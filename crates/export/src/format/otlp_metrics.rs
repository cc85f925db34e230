//! The agent's metrics as OpenTelemetry metrics: same names, labels as attributes, cumulative.

use model::time::WallTime;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric::Data, number_data_point::Value,
};
use prometheus::proto::{self, MetricFamily, MetricType};

use super::otlp::{Attributes, resource, scope};
use crate::config::Identity;

/// Path of metrics below the configured URL.
pub(crate) const METRICS_PATH: &str = "/v1/metrics";

/// Times between which a cumulative number was counted.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: WallTime,
    pub(crate) now: WallTime,
}

/// The request with all metrics.
pub(crate) fn metrics_request(
    families: &[MetricFamily],
    span: Span,
    identity: &Identity,
) -> ExportMetricsServiceRequest {
    let metrics = families.iter().filter_map(|family| metric(family, span)).collect();
    let scope_metrics = ScopeMetrics { scope: Some(scope(identity)), metrics, schema_url: String::new() };
    let resource_metrics = ResourceMetrics {
        resource: Some(resource(identity)),
        scope_metrics: vec![scope_metrics],
        schema_url: String::new(),
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }
}

fn metric(family: &MetricFamily, span: Span) -> Option<Metric> {
    let numbers = |value: fn(&proto::Metric) -> f64| {
        family.get_metric().iter().map(|metric| number(metric, value(metric), span)).collect()
    };
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: numbers(|metric| metric.get_counter().get_value()),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
        MetricType::GAUGE => Data::Gauge(Gauge { data_points: numbers(|metric| metric.get_gauge().get_value()) }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: family.get_metric().iter().map(|metric| histogram(metric, span)).collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        }),
        // The agent has none of these.
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    let (name, description) = (family.name().to_owned(), family.help().to_owned());
    let unit = unit(&name).to_owned();
    Some(Metric { name, description, unit, data: Some(data), ..Metric::default() })
}

/// UCUM units, as far as the names say them.
fn unit(name: &str) -> &'static str {
    let base = name.strip_suffix("_total").unwrap_or(name);
    match base.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "1",
    }
}

fn number(metric: &proto::Metric, value: f64, span: Span) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(metric),
        start_time_unix_nano: span.start.0,
        time_unix_nano: span.now.0,
        value: Some(Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn histogram(metric: &proto::Metric, span: Span) -> HistogramDataPoint {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count();
    // Prometheus counts everything below a bound, OpenTelemetry what lies between two.
    let mut below = 0;
    let mut counts = Vec::with_capacity(histogram.get_bucket().len() + 1);
    for bucket in histogram.get_bucket() {
        counts.push(bucket.cumulative_count().saturating_sub(below));
        below = bucket.cumulative_count();
    }
    counts.push(count.saturating_sub(below));
    HistogramDataPoint {
        attributes: attributes(metric),
        start_time_unix_nano: span.start.0,
        time_unix_nano: span.now.0,
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: counts,
        explicit_bounds: histogram.get_bucket().iter().map(proto::Bucket::upper_bound).collect(),
        ..HistogramDataPoint::default()
    }
}

fn attributes(metric: &proto::Metric) -> Vec<KeyValue> {
    let mut attributes = Attributes::default();
    for label in metric.get_label() {
        attributes.text(label.name(), Some(label.value()));
    }
    attributes.into_list()
}
