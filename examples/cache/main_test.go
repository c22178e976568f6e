package main

func Example() {
	main()
	// Output:
	// two nodes asked, renderings: 1
	// the other node gets it: false
	// a write under the old lock is refused: true
	// fences rise: true
}
