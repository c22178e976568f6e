package redis

import "github.com/gobackplane/backplane/fault"

func (t *Transport) fault(err error, op, subject string) error {
	return fault.In(err, op, subject)
}
