package redis

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Erase removes every key of the namespace. It walks over all keys of the database once, and the server is not kept
// long: keys are found in pages and freed in the background.
func (t *Transport) Erase(ctx context.Context) error {
	const op = "redis: erase"
	own := "bp:" + t.ns + ":"
	for cursor := uint64(0); ; {
		scan := redis.NewScanCmd(ctx, nil, "scan", cursor, "match", "*"+own+"*", "count", minScan)
		if err := t.lane.do(ctx, scan); err != nil {
			return t.fault(err, op, t.ns)
		}
		keys, next, err := scan.Result()
		if err != nil {
			return t.fault(err, op, t.ns)
		}
		var removals []redis.Cmder
		for _, key := range keys {
			if strings.HasPrefix(strings.TrimPrefix(key, "{"), own) { // the pattern finds it within others' names, too
				removals = append(removals, redis.NewIntCmd(ctx, "unlink", key))
			}
		}
		if err := t.lane.do(ctx, removals...); err != nil {
			return t.fault(err, op, t.ns)
		}
		for _, removal := range removals {
			if err := removal.Err(); err != nil {
				return t.fault(err, op, t.ns)
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
