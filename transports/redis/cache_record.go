package redis

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// The record of an entry, as the scripts know it too (lua/entry.lua, lua/cache_add.lua):
//
//	byte 0       version of the layout: 1
//	byte 1       flags
//	bytes 2-13   revision
//	bytes 14-21  when it was written, in milliseconds since 1970 by the writer's clock, big endian
//	bytes 22-    value
const (
	entryVersion  = 1
	revisionStart = 2
	createdStart  = 14
	entryHeader   = 22
)

// newEntry makes the record of a new version, with a revision that is there only once: 96 random bits, so no other node
// needs to be asked for it. They need not be secret, hence math/rand (ChaCha8, seeded by the system).
func newEntry(flags uint8, value []byte) []byte {
	record := make([]byte, entryHeader+len(value))
	record[0], record[1] = entryVersion, flags
	binary.BigEndian.PutUint64(record[revisionStart:], rand.Uint64())
	binary.BigEndian.PutUint32(record[revisionStart+8:], rand.Uint32())
	binary.BigEndian.PutUint64(record[createdStart:], uint64(time.Now().UnixMilli()))
	copy(record[entryHeader:], value)
	return record
}

func revisionOf(record []byte) cache.Revision {
	return cache.Revision(record[revisionStart:createdStart])
}

// readEntry takes a record apart. The entry's value is a part of record, which belongs to the entry from now on.
func readEntry(record []byte) (cache.Entry, error) {
	switch {
	case len(record) < entryHeader:
		return cache.Entry{}, fault.New(fault.Corrupt, "its record has %d bytes, a header alone has %d; write it anew, or delete it", len(record), entryHeader)
	case record[0] > entryVersion:
		return cache.Entry{}, fault.New(fault.Corrupt, "its record has version %d, this node knows those to %d; update this node", record[0], entryVersion)
	case record[0] != entryVersion:
		return cache.Entry{}, fault.New(fault.Corrupt, "its record begins with byte %d and not with a version; write it anew, or delete it", record[0])
	}
	return cache.Entry{
		Value:    record[entryHeader:len(record):len(record)],
		Flags:    record[1],
		Revision: revisionOf(record),
		Created:  time.UnixMilli(int64(binary.BigEndian.Uint64(record[createdStart:]))),
	}, nil
}
