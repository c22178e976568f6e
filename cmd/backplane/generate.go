package main

//go:generate go run ./internal/abilities ../../README.md
