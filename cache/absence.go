package cache

import (
	"context"
	"errors"
	"time"
)

// AbsenceFlag is the bit of Entry.Flags that marks a cached absence: an entry by which Load remembers that its loader
// answered ErrNotFound. Reads see no entry there, and IfAbsent holds. Everything else (IfPresent, Touch, Delete, Keys,
// Size, a watch, a dump) sees an entry with an empty value.
const AbsenceFlag uint8 = 1 << 7

func (e *Entry) isAbsence() bool { return e.Flags&AbsenceFlag != 0 }

// replaceAbsence writes over what made an IfAbsent fail, if that is a cached absence. It is one step in the store like
// the first attempt, because the condition now is the revision of that absence.
func (c *Cache) replaceAbsence(ctx context.Context, w Write, wait time.Duration, conflict error) (Revision, error) {
	all := c.replaceAbsences(ctx, []Write{w}, []Written{{Err: conflict}}, wait)
	return all[0].Revision, all[0].Err
}

func (c *Cache) replaceAbsences(ctx context.Context, writes []Write, all []Written, wait time.Duration) []Written {
	var at []int
	var reads []Read
	for i, w := range writes {
		if i < len(all) && w.If.WantsAbsent() && errors.Is(all[i].Err, ErrConflict) {
			at, reads = append(at, i), append(reads, Read{Key: w.Key})
		}
	}
	if len(at) == 0 {
		return all
	}
	there, err := many(ctx, c, reading(setting.op), reads, 0)
	if err != nil {
		return all // the conflicts stand: nothing was written
	}
	var over []Write
	var overAt []int
	for k, i := range at {
		if got := there[k]; got.Err == nil && got.Found && got.Entry.isAbsence() {
			w := writes[i]
			w.If = IfRevision(got.Entry.Revision)
			over, overAt = append(over, w), append(overAt, i)
		}
	}
	if len(over) == 0 {
		return all
	}
	written, _ := many(ctx, c, setting, over, wait)
	for k := range written {
		all[overAt[k]] = written[k]
	}
	return all
}
