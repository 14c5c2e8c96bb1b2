"""Between worlds: MQTT → Kafka."""
