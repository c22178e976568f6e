package service

import (
	"context"

	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// runQueue does a call of the queue. It answers false for any other.
func runQueue(ctx context.Context, b *queue.Backend, r *pb.Request, a *pb.Answer) (bool, error) {
	if b == nil {
		b = &queue.Backend{}
	}
	switch r.GetCall().(type) {
	case *pb.Request_EnqueueTasks, *pb.Request_ClaimTasks, *pb.Request_SettleTasks, *pb.Request_ExtendTasks:
		if b.Driver == nil {
			return true, missing("a queue")
		}
		return true, runTasks(ctx, b.Driver, r, a)
	case *pb.Request_ListQueues, *pb.Request_CountQueue, *pb.Request_ListTasks, *pb.Request_FindTask, *pb.Request_RemoveTasks,
		*pb.Request_RequeueTasks, *pb.Request_CancelTasks, *pb.Request_PauseQueue, *pb.Request_ResumeQueue,
		*pb.Request_ConfigureQueue, *pb.Request_ReadQueue:
		if b.Admin == nil {
			return true, missing("the administration of queues")
		}
		return true, runAdmin(ctx, b.Admin, r, a)
	}
	return false, nil
}

func runTasks(ctx context.Context, d queue.Driver, r *pb.Request, a *pb.Answer) error {
	switch call := r.GetCall().(type) {
	case *pb.Request_EnqueueTasks:
		results, err := batch(ctx, call.EnqueueTasks.GetTasks(), translate.FromTask, d.Enqueue, translate.ToEnqueued)
		a.Result = &pb.Answer_EnqueueTasks{EnqueueTasks: &pb.EnqueueTasksResult{Results: results}}
		return err
	case *pb.Request_ClaimTasks:
		claimed, err := d.Claim(ctx, translate.FromClaim(call.ClaimTasks))
		tasks := translate.Pack(claimed.Tasks, translate.ToLeased)
		a.Result = &pb.Answer_ClaimTasks{ClaimTasks: &pb.ClaimTasksResult{Tasks: tasks}}
		return err
	case *pb.Request_SettleTasks:
		settlements, err := translate.FromSettlements(call.SettleTasks)
		if err != nil {
			return err
		}
		results, err := d.Settle(ctx, settlements)
		a.Result = &pb.Answer_SettleTasks{SettleTasks: &pb.SettleTasksResult{Results: translate.Pack(results, translate.ToDone)}}
		return err
	default:
		results, err := batch(ctx, r.GetExtendTasks().GetRefs(), translate.FromRef, d.Extend, translate.ToDone)
		a.Result = &pb.Answer_ExtendTasks{ExtendTasks: &pb.ExtendTasksResult{Results: results}}
		return err
	}
}

func runAdmin(ctx context.Context, d queue.Admin, r *pb.Request, a *pb.Answer) error {
	switch call := r.GetCall().(type) {
	case *pb.Request_ListQueues:
		queues, err := d.Queues(ctx)
		a.Result = &pb.Answer_ListQueues{ListQueues: &pb.ListQueuesResult{Queues: translate.Names(queues)}}
		return err
	case *pb.Request_CountQueue:
		stats, err := d.Stats(ctx, name(call.CountQueue.GetQueue()))
		a.Result = &pb.Answer_CountQueue{CountQueue: translate.ToStats(stats)}
		return err
	case *pb.Request_ListTasks:
		page, err := d.List(ctx, translate.FromList(call.ListTasks))
		tasks := translate.Pack(page.Tasks, translate.ToInfo)
		a.Result = &pb.Answer_ListTasks{ListTasks: &pb.ListTasksResult{Tasks: tasks, Next: translate.Raw(page.Next)}}
		return err
	case *pb.Request_FindTask:
		info, err := d.Find(ctx, name(call.FindTask.GetQueue()), name(call.FindTask.GetId()))
		m := &pb.TaskInfo{}
		translate.ToInfo(m, &info)
		a.Result = &pb.Answer_FindTask{FindTask: &pb.FindTaskResult{Task: m}}
		return err
	case *pb.Request_RemoveTasks:
		results, err := tasks(ctx, call.RemoveTasks, d.Remove)
		a.Result = &pb.Answer_RemoveTasks{RemoveTasks: &pb.RemoveTasksResult{Results: results}}
		return err
	case *pb.Request_RequeueTasks:
		results, err := tasks(ctx, call.RequeueTasks, d.Requeue)
		a.Result = &pb.Answer_RequeueTasks{RequeueTasks: &pb.RequeueTasksResult{Results: results}}
		return err
	case *pb.Request_CancelTasks:
		results, err := tasks(ctx, call.CancelTasks, d.Cancel)
		a.Result = &pb.Answer_CancelTasks{CancelTasks: &pb.CancelTasksResult{Results: results}}
		return err
	case *pb.Request_PauseQueue:
		a.Result = &pb.Answer_PauseQueue{PauseQueue: &pb.PauseQueueResult{}}
		return d.Pause(ctx, name(call.PauseQueue.GetQueue()))
	case *pb.Request_ResumeQueue:
		a.Result = &pb.Answer_ResumeQueue{ResumeQueue: &pb.ResumeQueueResult{}}
		return d.Resume(ctx, name(call.ResumeQueue.GetQueue()))
	case *pb.Request_ConfigureQueue:
		a.Result = &pb.Answer_ConfigureQueue{ConfigureQueue: &pb.ConfigureQueueResult{}}
		properties := translate.FromProperties(call.ConfigureQueue.GetProperties())
		return d.Configure(ctx, name(call.ConfigureQueue.GetQueue()), properties)
	default:
		properties, err := d.Properties(ctx, name(r.GetReadQueue().GetQueue()))
		a.Result = &pb.Answer_ReadQueue{ReadQueue: &pb.ReadQueueResult{Properties: translate.ToProperties(properties)}}
		return err
	}
}

func name(raw []byte) string { return translate.Text[string](raw) }

// tasks does a call about tasks of one queue.
func tasks(
	ctx context.Context, of interface {
		GetQueue() []byte
		GetIds() [][]byte
	}, do func(ctx context.Context, queue string, ids []string) ([]error, error),
) ([]*pb.Done, error) {
	results, err := do(ctx, name(of.GetQueue()), translate.Texts[string](of.GetIds()))
	return translate.Pack(results, translate.ToDone), err
}
