package nats

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// An entry is stored as
//
//	byte 0       version of the record: 1
//	byte 1       traits, see below
//	byte 2       flags of the entry
//	8 bytes      random: the part of the revision that no other version has
//	8 bytes      when it was written, by the writer's clock, in nanoseconds of the Unix era
//	8 bytes      mortal only: how many nanoseconds it lives from the time at which the server stored it; if its end is fixed,
//	             the nanosecond of the Unix era at which it ends, by the server's clock
//	8 bytes      moved only: the sequence at which this version was written first
//	rest         the value
//
// in big endian. What was deleted is an empty message. A list is an entry whose value is the list.
//
// The server counts lifetimes in whole seconds and cuts them. So its TTL is longer than the record's lifetime, and only
// removes what the readers do not take for live any more.
const (
	recordVersion = 1
	recordHead    = 19
)

const (
	traitMortal     = 1 << iota // it has an end
	traitFixedEnd               // the end is a time, and not counted from when the server stored it
	traitMoved                  // stored again since it was written, with another lifetime
	traitBornMortal             // it had an end when it was written
)

// record is an entry as it is stored.
type record struct {
	traits  uint8
	flags   uint8
	random  uint64
	created int64
	life    int64
	origin  uint64
	value   []byte
}

// newRecord is a version that is written now. The value is not copied.
func newRecord(flags uint8, value []byte, ttl time.Duration) record {
	r := record{flags: flags, random: rand.Uint64(), created: time.Now().UnixNano(), value: value}
	if r.live(ttl); r.traits&traitMortal != 0 {
		r.traits |= traitBornMortal
	}
	return r
}

// endless is a lifetime that is not counted: a server adds it to the time of day in nanoseconds, and these end in 2262.
const endless = 100 * 365 * 24 * time.Hour

// live gives the record a lifetime from when it is stored; 0 is without end.
func (r *record) live(ttl time.Duration) {
	r.traits &^= traitMortal | traitFixedEnd
	r.life = 0
	if ttl > 0 && ttl < endless {
		r.traits |= traitMortal
		r.life = int64(ttl)
	}
}

// ends is when a record that was stored at a time ends; zero is never.
func (r *record) ends(stored time.Time) time.Time {
	switch {
	case r.traits&traitMortal == 0:
		return time.Time{}
	case r.traits&traitFixedEnd != 0:
		return time.Unix(0, r.life)
	}
	return stored.Add(time.Duration(r.life))
}

// keepEnd lets the record end when it would have, though it is stored again.
func (r *record) keepEnd(ends time.Time) {
	r.live(0)
	if !ends.IsZero() {
		r.traits |= traitMortal | traitFixedEnd
		r.life = ends.UnixNano()
	}
}

// left is the lifetime to give to the server, which must not remove the record before its end: 0 is without end.
func (r *record) left(now time.Time) time.Duration {
	switch {
	case r.traits&traitMortal == 0:
		return 0
	case r.traits&traitFixedEnd != 0:
		return max(time.Unix(0, r.life).Sub(now), 0) + time.Second
	}
	return time.Duration(r.life)
}

// formatTTL rounds a lifetime up to whole seconds, which the server would cut.
func formatTTL(ttl time.Duration) string {
	seconds := int64(ttl / time.Second)
	if ttl%time.Second > 0 {
		seconds++
	}
	return strconv.FormatInt(max(seconds, 1), 10) + "s"
}

// revision is that of the version which is stored at a sequence.
func (r *record) revision(sequence uint64) cache.Revision {
	if r.traits&traitMoved != 0 {
		sequence = r.origin
	}
	b := make([]byte, 0, revisionSize)
	b = append(b, r.traits&traitBornMortal)
	b = binary.BigEndian.AppendUint64(b, sequence)
	return cache.Revision(binary.BigEndian.AppendUint64(b, r.random))
}

const revisionSize = 17

// atOnce reads from a revision the sequence to expect, for a write that is tried before anything is read. What has an end
// must be read: the server may not have removed it yet.
func atOnce(r cache.Revision) (sequence uint64, ok bool) {
	if len(r) != revisionSize || r[0] != 0 {
		return 0, false
	}
	return binary.BigEndian.Uint64([]byte(r[1:9])), true
}

func (r *record) encode() []byte {
	b := make([]byte, 0, recordHead+16+len(r.value))
	b = append(b, recordVersion, r.traits, r.flags)
	b = binary.BigEndian.AppendUint64(b, r.random)
	b = binary.BigEndian.AppendUint64(b, uint64(r.created))
	if r.traits&traitMortal != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(r.life))
	}
	if r.traits&traitMoved != 0 {
		b = binary.BigEndian.AppendUint64(b, r.origin)
	}
	return append(b, r.value...)
}

var errCorrupt = fault.New(fault.Corrupt, "its record cannot be read; write it anew, or delete it")

// readRecord reads what encode wrote. The value is a part of b.
func readRecord(b []byte) (r record, err error) {
	if len(b) > 0 && b[0] > recordVersion {
		return r, fault.New(fault.Corrupt, "its record has version %d, and this program knows %d; upgrade it", b[0], recordVersion)
	}
	if len(b) < recordHead || b[0] != recordVersion {
		return r, errCorrupt
	}
	r = record{
		traits: b[1], flags: b[2],
		random: binary.BigEndian.Uint64(b[3:]), created: int64(binary.BigEndian.Uint64(b[11:])),
	}
	b = b[recordHead:]
	for _, field := range []struct {
		trait uint8
		to    func(uint64)
	}{
		{traitMortal, func(v uint64) { r.life = int64(v) }},
		{traitMoved, func(v uint64) { r.origin = v }},
	} {
		if r.traits&field.trait == 0 {
			continue
		}
		if len(b) < 8 {
			return r, errCorrupt
		}
		field.to(binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	r.value = b
	return r, nil
}
