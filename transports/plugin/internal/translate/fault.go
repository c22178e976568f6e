package translate

import (
	"errors"
	"strings"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// ToFault is an error as the wire has it: with everything but its chain of causes, which its message tells of.
func ToFault(err error) *pb.Fault {
	if err == nil {
		return nil
	}
	var at *fault.Error
	if !errors.As(fault.In(err, "", ""), &at) {
		return &pb.Fault{Code: pb.Code_CODE_INTERNAL, Message: plain(err.Error())}
	}
	m := &pb.Fault{
		Code: pb.Code(at.Code), Op: plain(at.Op), Subject: Raw(at.Subject), Transport: plain(at.Transport), Node: plain(at.Node),
		Remote: fault.IsRemote(err), Retryable: fault.IsRetryable(err),
	}
	// The text without what travels beside it.
	bare := fault.Error{Code: at.Code, Message: at.Message, Err: at.Err}
	if text := bare.Error(); text != at.Code.String() {
		m.Message = plain(text)
	}
	return m
}

// FromFault is the error of a fault; nil for none. The peer's codes may be more than ours: those are Internal.
func FromFault(m *pb.Fault) error {
	if m == nil {
		return nil
	}
	return &fault.Error{
		Code: code(m.GetCode()), Op: m.GetOp(), Subject: Text[string](m.GetSubject()), Transport: m.GetTransport(),
		Node: m.GetNode(), Remote: m.GetRemote(), Retryable: m.GetRetryable(), Message: m.GetMessage(),
	}
}

func code(c pb.Code) fault.Code {
	if c < pb.Code_CODE_CANCELED || c > pb.Code_CODE_INTERNAL {
		return fault.Internal
	}
	return fault.Code(c)
}

// plain is a text that protobuf takes as a string, and no longer than people read.
func plain(text string) string { return strings.ToValidUTF8(limits.CutError(text), "�") }

// ToDone says whether an element went well.
func ToDone(m *pb.Done, err *error) { m.Fault = ToFault(*err) }

// FromDone is the error of an element.
func FromDone(m *pb.Done, err *error) error {
	*err = FromFault(m.GetFault())
	return nil
}
