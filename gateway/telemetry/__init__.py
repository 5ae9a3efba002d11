"""What operators watch: Prometheus metrics and OpenTelemetry traces, from ledger entries."""
