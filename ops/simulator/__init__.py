"""Virtual sockets over real MQTT connections: appliance models, a lean MQTT client, a device that loses nothing."""
