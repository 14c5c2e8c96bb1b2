"""The servers that `wattaway up` starts as children: Apache Kafka, NATS as MQTT broker, Valkey. No root, no Docker."""
