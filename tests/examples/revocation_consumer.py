"""A service that acts on revocations: python3 revocation_consumer.py AMQP-URL QUEUE [COUNT]

It keeps a durable queue of its own, so that nothing is missed while it is away, acknowledges a message after acting on it,
and drops doubles by message id: delivery is at least once.
"""

import json
import sys

import pika


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("usage: revocation_consumer.py AMQP-URL QUEUE [COUNT]")
    url, queue = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else None

    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.exchange_declare("keylime.revocations", exchange_type="topic", durable=True)
    channel.queue_declare(queue, durable=True)
    # Every revocation of every severity; "comm_error.#" would bring agents that cannot be reached.
    channel.queue_bind(queue, "keylime.revocations", "revocation.#")
    print("ready", flush=True)

    seen = set()
    for method, properties, body in channel.consume(queue):
        if properties.message_id not in seen:
            seen.add(properties.message_id)
            message = json.loads(json.loads(body)["msg"])
            print(f"agent {message['agent_id']} failed: {message['event_id']} ({message['severity_label']})", flush=True)
        channel.basic_ack(method.delivery_tag)
        if count is not None and len(seen) >= count:
            break


if __name__ == "__main__":
    main()
