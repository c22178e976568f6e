package pubsub

// sealer is where authentication and encryption of payloads will attach: seal before a message is numbered and sent,
// open when it arrives. What open refuses is dropped and counted.
type sealer interface {
	seal(m *Message) error
	open(m *Message) error
}
