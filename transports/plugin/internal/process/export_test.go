package process

import "context"

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
