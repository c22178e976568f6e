package memory

import (
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

type tasks struct{}

func newTasks(transports.Clock) *tasks { return &tasks{} }

func (t *Transport) queueBackend() *queue.Backend { return nil }
