"""Where the ports of the kernel meet the world: Kafka, Redis, HTTP, memory."""
