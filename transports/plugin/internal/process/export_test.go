package process

import (
	"bytes"
	"context"
	"log/slog"
)

// CheckHandshake is what is said of a plugin's first line; it decodes what a stranger has written.
func CheckHandshake(line, dir string) string { return checkHandshake(line, dir) }

// StartBetween is Start with something that happens between the checksum and the start.
func StartBetween(ctx context.Context, config Config, meanwhile func()) (*Process, error) {
	config, err := config.checked()
	if err != nil {
		return nil, err
	}
	program, err := find(&config)
	if err != nil {
		return nil, err
	}
	meanwhile()
	return launch(ctx, config, program)
}

// LastLines are those that an error would show of what a plugin printed: read from its pipe, and sent in pieces.
func LastLines(printed []byte, piece int) (read, sent []string) {
	logger := slog.New(slog.DiscardHandler)
	pipe, stream := newOutput(logger, "plugin"), newOutput(logger, "plugin")
	pipe.readAll(bytes.NewReader(printed))
	w := stream.writer()
	for rest := append(printed[:len(printed):len(printed)], '\n'); len(rest) > 0; {
		n := min(piece, len(rest))
		_, _ = w.Write(rest[:n]) // it never fails
		rest = rest[n:]
	}
	return pipe.lines(), stream.lines()
}
