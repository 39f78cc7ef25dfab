"""The consumer group: Avro events in from Kafka, pings out to third parties, what fails to the dead letters."""
