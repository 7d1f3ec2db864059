"""What the message layer counts."""


class Counters:
    """Plain ints that the metrics read when they are scraped.

    Attributes:
        requests: Handed to the caller.
        duplicates: Repeated requests that were not.
        malformed: Datagrams that are no CoAP message.
        refused: Requests that the layer answered itself: 4.02, 4.05, 4.13, 5.03, 5.05, or RST for a NON.
        unexpected: Well-formed messages that nothing here waits for.
        pings: Empty confirmable messages.
        resets_received: RST for a message of ours.
        resets_sent: RST that we sent, answers to pings included.
        empty_acks: Requests acknowledged before their response was there.
        separate_responses: Responses that went out as a confirmable message of their own.
        requests_sent: Requests of ours.
        notifications: Notifications that went out, without their repetitions.
        notifications_skipped: Notifications that a newer state replaced before they went out.
        observations_refused: Registrations that found no place.
        retransmissions: Confirmable messages of ours that went out again.
        gave_up: Confirmable messages of ours that nobody acknowledged.
        exhausted: Messages that were held back or dropped because all message ids were in use.
        overflows: Datagrams and events dropped because the caller did not fetch them.
    """

    __slots__ = (
        "duplicates",
        "empty_acks",
        "exhausted",
        "gave_up",
        "malformed",
        "notifications",
        "notifications_skipped",
        "observations_refused",
        "overflows",
        "pings",
        "refused",
        "requests",
        "requests_sent",
        "resets_received",
        "resets_sent",
        "retransmissions",
        "separate_responses",
        "unexpected",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.duplicates = 0
        self.malformed = 0
        self.refused = 0
        self.unexpected = 0
        self.pings = 0
        self.resets_received = 0
        self.resets_sent = 0
        self.empty_acks = 0
        self.separate_responses = 0
        self.retransmissions = 0
        self.gave_up = 0
        self.exhausted = 0
        self.requests_sent = 0
        self.notifications = 0
        self.notifications_skipped = 0
        self.observations_refused = 0
        self.overflows = 0
