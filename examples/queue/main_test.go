package main

func Example() {
	main()
	// Output:
	// sent to ada, attempt 1
	// sent to grace, attempt 2
	// dead after 1 attempt: {"To":"alan"}: there is no such mailbox
	// sent to alan, attempt 1
}
