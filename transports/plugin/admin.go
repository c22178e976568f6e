package plugin

import (
	"context"

	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// adminDriver is what an operator asks of a plugin's queues.
type adminDriver queueDriver

// ask makes a call that may be repeated; op reads "queue: stats".
func (d *adminDriver) ask(ctx context.Context, op, subject string, r *pb.Request) (*pb.Answer, error) {
	return d.node.call(ctx, queueLane, r, about{op: op, subject: subject, harmless: true})
}

// named checks a queue's name, after what comes before that.
func (d *adminDriver) named(ctx context.Context, op, name string) error {
	if _, err := d.node.ready(ctx, op, name); err != nil {
		return err
	}
	return d.check.Name(op, name)
}

func (d *adminDriver) Queues(ctx context.Context) ([]string, error) {
	const op = "queue: queues"
	answer, err := d.ask(ctx, op, "", &pb.Request{Call: &pb.Request_ListQueues{ListQueues: &pb.ListQueues{}}})
	if err != nil {
		return nil, err
	}
	m := answer.GetListQueues()
	if m == nil {
		return nil, d.node.garbled(errNoResult, op)
	}
	return translate.Texts[string](m.GetQueues()), nil
}

func (d *adminDriver) Stats(ctx context.Context, name string) (queue.Stats, error) {
	const op = "queue: stats"
	if err := d.named(ctx, op, name); err != nil {
		return queue.Stats{}, err
	}
	answer, err := d.ask(ctx, op, name, &pb.Request{Call: &pb.Request_CountQueue{CountQueue: &pb.CountQueue{Queue: translate.Raw(name)}}})
	if err != nil {
		return queue.Stats{}, err
	}
	m := answer.GetCountQueue()
	if m == nil {
		return queue.Stats{}, d.node.garbled(errNoResult, op)
	}
	return translate.FromStats(m, name), nil
}

func (d *adminDriver) List(ctx context.Context, l queue.List) (queue.Tasks, error) {
	const op = "queue: list"
	if _, err := d.node.ready(ctx, op, l.Queue); err != nil {
		return queue.Tasks{}, err
	}
	if err := d.check.List(l); err != nil {
		return queue.Tasks{}, err
	}
	answer, err := d.ask(ctx, op, l.Queue, &pb.Request{Call: &pb.Request_ListTasks{ListTasks: translate.ToList(l)}})
	if err != nil {
		return queue.Tasks{}, err
	}
	m := answer.GetListTasks()
	if m == nil {
		return queue.Tasks{}, d.node.garbled(errNoResult, op)
	}
	tasks, err := translate.Unpack(m.GetTasks(), translate.FromInfo)
	if err != nil {
		return queue.Tasks{}, d.node.garbled(err, op)
	}
	return queue.Tasks{Tasks: tasks, Next: translate.Text[string](m.GetNext())}, nil
}

func (d *adminDriver) Find(ctx context.Context, name, id string) (queue.Info, error) {
	const op = "queue: find"
	if err := d.named(ctx, op, name); err != nil {
		return queue.Info{}, err
	}
	if err := d.check.ID(op, id); err != nil {
		return queue.Info{}, err
	}
	answer, err := d.ask(ctx, op, id, &pb.Request{Call: &pb.Request_FindTask{FindTask: &pb.FindTask{
		Queue: translate.Raw(name), Id: translate.Raw(id),
	}}})
	if err != nil {
		return queue.Info{}, err
	}
	var info queue.Info
	if err := translate.FromInfo(answer.GetFindTask().GetTask(), &info); err != nil {
		return queue.Info{}, d.node.garbled(err, op)
	}
	return info, nil
}

// taskCall is a call about some tasks of one queue.
type taskCall struct {
	op      string
	ask     func(queue []byte, ids [][]byte, r *pb.Request)
	answers func(*pb.Answer) []*pb.Done
}

var removeTasks = taskCall{
	op: "queue: remove",
	ask: func(queue []byte, ids [][]byte, r *pb.Request) {
		r.Call = &pb.Request_RemoveTasks{RemoveTasks: &pb.RemoveTasks{Queue: queue, Ids: ids}}
	},
	answers: func(a *pb.Answer) []*pb.Done { return a.GetRemoveTasks().GetResults() },
}

func (d *adminDriver) Remove(ctx context.Context, name string, ids []string) ([]error, error) {
	return d.tasks(ctx, removeTasks, name, ids)
}

var requeueTasks = taskCall{
	op: "queue: requeue",
	ask: func(queue []byte, ids [][]byte, r *pb.Request) {
		r.Call = &pb.Request_RequeueTasks{RequeueTasks: &pb.RequeueTasks{Queue: queue, Ids: ids}}
	},
	answers: func(a *pb.Answer) []*pb.Done { return a.GetRequeueTasks().GetResults() },
}

func (d *adminDriver) Requeue(ctx context.Context, name string, ids []string) ([]error, error) {
	return d.tasks(ctx, requeueTasks, name, ids)
}

var cancelTasks = taskCall{
	op: "queue: cancel",
	ask: func(queue []byte, ids [][]byte, r *pb.Request) {
		r.Call = &pb.Request_CancelTasks{CancelTasks: &pb.CancelTasks{Queue: queue, Ids: ids}}
	},
	answers: func(a *pb.Answer) []*pb.Done { return a.GetCancelTasks().GetResults() },
}

func (d *adminDriver) Cancel(ctx context.Context, name string, ids []string) ([]error, error) {
	return d.tasks(ctx, cancelTasks, name, ids)
}

func (d *adminDriver) Pause(ctx context.Context, name string) error {
	return d.tell(ctx, "queue: pause", name, &pb.Request{Call: &pb.Request_PauseQueue{
		PauseQueue: &pb.PauseQueue{Queue: translate.Raw(name)},
	}}, func(a *pb.Answer) bool { return a.GetPauseQueue() != nil })
}

func (d *adminDriver) Resume(ctx context.Context, name string) error {
	return d.tell(ctx, "queue: resume", name, &pb.Request{Call: &pb.Request_ResumeQueue{
		ResumeQueue: &pb.ResumeQueue{Queue: translate.Raw(name)},
	}}, func(a *pb.Answer) bool { return a.GetResumeQueue() != nil })
}

func (d *adminDriver) Configure(ctx context.Context, name string, p queue.Properties) error {
	const op = "queue: configure"
	if _, err := d.node.ready(ctx, op, name); err != nil {
		return err
	}
	if err := d.check.Properties(name, p); err != nil {
		return err
	}
	return d.tell(ctx, op, name, &pb.Request{Call: &pb.Request_ConfigureQueue{
		ConfigureQueue: &pb.ConfigureQueue{Queue: translate.Raw(name), Properties: translate.ToProperties(p)},
	}}, func(a *pb.Answer) bool { return a.GetConfigureQueue() != nil })
}

func (d *adminDriver) Properties(ctx context.Context, name string) (queue.Properties, error) {
	const op = "queue: properties"
	if err := d.named(ctx, op, name); err != nil {
		return queue.Properties{}, err
	}
	answer, err := d.ask(ctx, op, name, &pb.Request{Call: &pb.Request_ReadQueue{ReadQueue: &pb.ReadQueue{Queue: translate.Raw(name)}}})
	if err != nil {
		return queue.Properties{}, err
	}
	m := answer.GetReadQueue()
	if m == nil {
		return queue.Properties{}, d.node.garbled(errNoResult, op)
	}
	return translate.FromProperties(m.GetProperties()), nil
}

// tell makes a call that may be repeated, and whose answer is that it was done.
func (d *adminDriver) tell(ctx context.Context, op, name string, r *pb.Request, done func(*pb.Answer) bool) error {
	if err := d.named(ctx, op, name); err != nil {
		return err
	}
	answer, err := d.ask(ctx, op, name, r)
	if err == nil && !done(answer) {
		return d.node.garbled(errNoResult, op)
	}
	return err
}

// tasks makes a call about tasks of one queue.
func (d *adminDriver) tasks(ctx context.Context, c taskCall, name string, ids []string) ([]error, error) {
	if err := d.named(ctx, c.op, name); err != nil {
		return nil, err
	}
	if err := d.check.Batch(c.op, len(ids)); err != nil {
		return nil, err
	}
	b := batch[string, error, []byte, pb.Done]{
		lane: queueLane, op: c.op, answers: c.answers, from: translate.FromDone, errOf: itself,
		to: func(m *[]byte, id *string) { *m = translate.Raw(*id) },
		ask: func(m []*[]byte, r *pb.Request) {
			all := make([][]byte, len(m))
			for i := range m {
				all[i] = *m[i]
			}
			c.ask(translate.Raw(name), all, r)
		},
	}
	return b.call(ctx, d.node, ids, func(id *string) error { return d.check.ID(c.op, *id) }, how{})
}
