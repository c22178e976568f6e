package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/gobackplane/backplane/fault"
)

// layout is the version of what is in sql/. When it changes, the steps from the one before are added to install. A function
// whose parameters or meaning change gets a new name, and the old one stays for the nodes that still call it: so nodes of
// two neighbouring versions work on one schema. meta.oldest says which is the oldest that still does.
const (
	layout       = 1
	oldestLayout = 1
)

//go:embed sql/*.sql
var scripts embed.FS

// files of layout 1, in order.
var files = []string{"tables", "cache", "lock", "list", "queue", "queue_admin", "pubsub", "erase"}

// prepareSchema makes the schema where there is none, and refuses one that is too new. Of nodes that are at it together
// one makes it, under an advisory lock.
func (t *Transport) prepareSchema(ctx context.Context, schema string) error {
	has, err := t.installed(ctx)
	if err != nil || has {
		return err
	}
	return t.store.do(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, t.store.pool, func(tx pgx.Tx) error { return install(ctx, tx, schema) })
	})
}

// installed tells whether the schema is there.
func (t *Transport) installed(ctx context.Context) (bool, error) {
	var has, oldest int
	err := t.store.row(ctx, "SELECT layout, oldest FROM meta", nil, &has, &oldest)
	switch {
	case isMissing(err):
		return false, nil
	case err != nil:
		return false, err
	case oldest > layout:
		return false, fault.New(fault.Unsupported, "the schema has layout %d, which programs that know layout %d or later can use; this one knows %d: update it", has, oldest, layout)
	}
	return true, nil
}

func install(ctx context.Context, tx pgx.Tx, schema string) error {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('backplane ' || $1, 0))", schema); err != nil {
		return err
	}
	var there bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", pgx.Identifier{schema, "meta"}.Sanitize()).Scan(&there); err != nil || there {
		return err
	}
	if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{schema}.Sanitize()); err != nil {
		return err
	}
	for _, name := range files {
		script, err := scripts.ReadFile("sql/" + name + ".sql")
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string(script), pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("sql/%s.sql: %w", name, err)
		}
	}
	_, err := tx.Exec(ctx, "INSERT INTO meta (layout, oldest) VALUES ($1, $2)", layout, oldestLayout)
	return err
}

// number gives the namespace its number.
func (t *Transport) number(ctx context.Context, namespace string) error {
	const find = "SELECT id FROM namespace WHERE name = $1"
	err := t.store.row(ctx, find, []any{namespace}, &t.ns)
	if !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if err := t.store.exec(ctx, "INSERT INTO namespace (name) VALUES ($1) ON CONFLICT DO NOTHING", namespace); err != nil {
		return err
	}
	return t.store.row(ctx, find, []any{namespace}, &t.ns)
}
