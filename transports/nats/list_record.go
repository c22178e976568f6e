package nats

import (
	"encoding/binary"
	"slices"
)

// A list is stored as an entry whose value is the list's values one after another, each after its length as a varint. So
// every change of a list is one message, and a list's lifetime that of an entry.

// encodedSize is how many bytes a list of values takes.
func encodedSize(values [][]byte) int {
	size := 0
	for _, value := range values {
		size += len(binary.AppendUvarint(nil, uint64(len(value)))) + len(value)
	}
	return size
}

func encodeValues(values [][]byte) []byte {
	b := make([]byte, 0, encodedSize(values))
	for _, value := range values {
		b = append(binary.AppendUvarint(b, uint64(len(value))), value...)
	}
	return b
}

// readValues reads what encodeValues wrote. The values are parts of b.
func readValues(b []byte) (values [][]byte, err error) {
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil, errCorrupt
		}
		b = b[n:]
		values = append(values, slices.Clip(b[:size]))
		b = b[size:]
	}
	return values, nil
}
